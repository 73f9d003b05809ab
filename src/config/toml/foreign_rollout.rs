//! Keys of other tools for releases in stages (Argo Rollouts, Flagger, Spinnaker) and for notifications, and the keys to use instead.

use super::foreign_meaning::ForeignEntry;
use super::foreign_meaning::Meaning::{self, Elsewhere, Key, KeyWithHelp};

const RECEIVERS: Meaning = KeyWithHelp("to", "write `to = [\"slack:https://…\"]`: each receiver as `KIND:URL`");

/// By the title of the table in which users write them.
pub(in crate::config) const ROLLOUT_WORDS: &[(&str, &[ForeignEntry])] = &[
    (
        "[rollout.NAME]",
        &[
            ("steps stages", KeyWithHelp("stage", "write `[[rollout.NAME.stage]]` for each")),
            ("guards analysis metrics alarms checks", KeyWithHelp("guard", "write `[[rollout.NAME.guard]]` for each")),
            ("timezone time_zone tz", Key("zone")),
            ("expiry expire deadline until valid_until", Key("expires")),
            ("blackout blackouts freeze_windows windows no_deploy", Key("freeze")),
            ("depends_on after needs requirements", Key("requires")),
            ("approver approvals roles", Key("approvers")),
            ("maxweight ceiling limit", Key("max_weight")),
            ("rollback auto_rollback", Key("on_rollback")),
            (
                "alerts alert notifications notification notifies receivers slack alertmanager", // Flagger, Argo
                KeyWithHelp("notify", "write `notify = [\"slack:https://…\"]`: each receiver as `KIND:URL`"),
            ),
            ("annotations", Elsewhere("receivers of notifications are in `notify = [\"slack:https://…\"]`")),
            ("name", Elsewhere("the name is in the brackets: `[rollout.NAME]`")),
            (
                "route routes service upstream",
                Elsewhere("routes name their rollout: `canary = { upstream = \"…\", rollout = \"NAME\" }`"),
            ),
            ("gate gates approve weight", Elsewhere("write it in a `[[rollout.NAME.stage]]`")),
        ],
    ),
    (
        "[[rollout.NAME.stage]]",
        &[
            ("setweight set_weight percent percentage traffic share", Key("weight")),
            ("pause duration wait interval bake bake_time soak", Key("min_duration")),
            ("ramp_up over", Key("ramp")),
            (
                "approvals approval approvers manual judgment manual_judgment",
                KeyWithHelp(
                    "approve",
                    "write `approve = [\"ROLE\"]` here, and who fills it in `approvers` of the rollout",
                ),
            ),
            ("gates webhooks", KeyWithHelp("gate", "write `[[rollout.NAME.stage.gate]]` for each")),
            ("webhook prometheus query", Elsewhere("write it in a `[[rollout.NAME.stage.gate]]`")),
            ("requests samples min_samples", Key("min_requests")),
            ("keys callers users", Key("min_keys")),
            ("start start_at begins not_after", Key("not_before")),
            ("step id", Key("name")),
            ("freeze", Elsewhere("`freeze` is a key of `[rollout.NAME]`")),
            ("notify notifications alerts", Elsewhere("`notify` is a key of `[rollout.NAME]`")),
        ],
    ),
    (
        "[[rollout.NAME.guard]]",
        &[
            ("variant", Elsewhere("a guard of a rollout judges the variants that it moves: remove it")),
            ("query for", Elsewhere("write `prometheus = { query = \"…\", above = 1000, for = \"1m\" }`")),
            ("action on_trip then", Key("act")),
            ("signal event events", Key("metric")),
            ("threshold threshold_range max limit maximum bound", Key("above")),
            ("ratio factor times worse_than", Key("worse_than_stable")),
        ],
    ),
    (
        "[notify]",
        &[
            ("receivers receiver targets target urls url channel channels provider", RECEIVERS),
            ("slack webhook webhooks alertmanager alerts", RECEIVERS),
            ("key signing_key signature hmac token password", Key("secret")),
            (
                "headers authorization basic_auth user",
                Elsewhere("write the user and password into the URL of the receiver"),
            ),
        ],
    ),
];
