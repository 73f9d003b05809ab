//! What a call takes and answers: for its row in the table of calls, and for the `OpenAPI` document.

use super::problem::ProblemKind;

/// What a call takes and answers.
#[derive(Clone, Copy, Debug)]
pub(super) struct Operation {
    /// Its parameters.
    pub parameters: &'static [CallParameter],
    /// Its body, if it takes one.
    pub body: Option<BodyDoc>,
    /// What it answers with 200.
    pub answer: AnswerDoc,
    /// The problems besides those of access.
    pub problems: &'static [ProblemKind],
}

/// A parameter of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct CallParameter {
    pub name: &'static str,
    pub place: ParameterPlace,
    pub doc: &'static str,
    /// The name of its schema.
    pub schema: &'static str,
}

/// Where a parameter stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum ParameterPlace {
    /// In the query.
    Query,
    /// In the header.
    Header,
    /// In the path; required.
    Path,
}

/// The body of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct BodyDoc {
    /// The name of the schema of its JSON.
    pub schema: &'static str,
    /// Further media types, as text.
    pub text: &'static [&'static str],
}

/// The answer of a call.
#[derive(Clone, Copy, Debug)]
pub(super) struct AnswerDoc {
    pub media: &'static str,
    /// The name of its schema.
    pub schema: &'static str,
}

const KEY: CallParameter = CallParameter {
    name: "Idempotency-Key",
    place: ParameterPlace::Header,
    doc: "The same call with the same key is done once; kept for a day.",
    schema: "IdempotencyKey",
};
const AFTER: CallParameter = CallParameter {
    name: "after",
    place: ParameterPlace::Query,
    doc: "Only records with larger sequence numbers.",
    schema: "Sequence",
};
const LIMIT: CallParameter = CallParameter {
    name: "limit",
    place: ParameterPlace::Query,
    doc: "The most records; 100 by default.",
    schema: "Limit",
};
const LAST_EVENT_ID: CallParameter = CallParameter {
    name: "Last-Event-ID",
    place: ParameterPlace::Header,
    doc: "The `id` of the last event that was read; it comes before `after`.",
    schema: "Sequence",
};

const HISTORY: [CallParameter; 3] = [
    CallParameter {
        name: "rollout",
        place: ParameterPlace::Query,
        doc: "A rollout, or `ROUTE:VARIANT`. Either this or `route`.",
        schema: "Name",
    },
    CallParameter { name: "route", place: ParameterPlace::Query, doc: "A route.", schema: "Name" },
    CallParameter {
        name: "points",
        place: ParameterPlace::Query,
        doc: "At most so many points; 300 by default.",
        schema: "Points",
    },
];

const fn query(name: &'static str, doc: &'static str) -> CallParameter {
    CallParameter { name, place: ParameterPlace::Query, doc, schema: "Text" }
}

const ENDPOINT: [CallParameter; 2] = [
    CallParameter { name: "upstream", place: ParameterPlace::Path, doc: "The name of the upstream.", schema: "Name" },
    CallParameter {
        name: "endpoint",
        place: ParameterPlace::Path,
        doc: "`HOST:PORT` as in the file, for all addresses of the name; or an address.",
        schema: "Name",
    },
];

const ROLLOUT_NAME: CallParameter =
    CallParameter { name: "name", place: ParameterPlace::Path, doc: "A rollout, or `ROUTE:VARIANT`.", schema: "Name" };

const EXPLAIN: [CallParameter; 9] = [
    query("host", "The host."),
    query("path", "The path, with its query."),
    query("method", "The method."),
    query("header", "A header field, `K:V`."),
    query("cookie", "A cookie, `K=V`."),
    query("client_ip", "The address of the client."),
    query("client_cert", "A field of the certificate of the client, `cn=…`."),
    query("listener", "The name of the listener."),
    query("peer", "The address of the peer."),
];

impl Operation {
    /// A call that takes nothing and answers with text.
    pub const TEXT: Self = Self::answering(AnswerDoc { media: "text/plain", schema: "Text" });
    /// `/explain`.
    pub const EXPLAIN: Self = Self {
        parameters: &EXPLAIN,
        problems: &[ProblemKind::BadQuery],
        ..Self::answering(AnswerDoc { media: "application/json", schema: "Explanation" })
    };
    /// `/reload`.
    pub const RELOAD: Self =
        Self { problems: &[ProblemKind::Rejected, ProblemKind::Stopping], ..Self::page("ReloadOutcome") };
    /// `/v1/kill`, with POST.
    pub const KILL: Self = Self {
        parameters: &[KEY],
        body: Some(BodyDoc { schema: "Kill", text: &[] }),
        problems: &[
            ProblemKind::BadBody,
            ProblemKind::BadKey,
            ProblemKind::UnknownScope,
            ProblemKind::BodyLate,
            ProblemKind::Stale,
            ProblemKind::TooManyKills,
            ProblemKind::BodyTooLarge,
            ProblemKind::MediaType,
            ProblemKind::NothingToKill,
            ProblemKind::KeyReused,
            ProblemKind::Stopping,
        ],
        ..Self::page("ActOutcome")
    };
    /// `/v1/revive`.
    pub const REVIVE: Self = Self {
        body: Some(BodyDoc { schema: "Revive", text: &[] }),
        problems: &[
            ProblemKind::BadBody,
            ProblemKind::BadKey,
            ProblemKind::UnknownScope,
            ProblemKind::BodyLate,
            ProblemKind::NotKilled,
            ProblemKind::KilledByFile,
            ProblemKind::NotARollout,
            ProblemKind::Stale,
            ProblemKind::BodyTooLarge,
            ProblemKind::MediaType,
            ProblemKind::NothingToKill,
            ProblemKind::KeyReused,
            ProblemKind::NotRecorded,
            ProblemKind::Stopping,
        ],
        ..Self::KILL
    };
    /// `/v1/upstreams/{upstream}/endpoints/{endpoint}/drain` and its like.
    pub const ENDPOINT_ACT: Self = Self {
        parameters: &ENDPOINT,
        body: Some(BodyDoc { schema: "EndpointAct", text: &[] }),
        problems: &[
            ProblemKind::BadBody,
            ProblemKind::BadQuery,
            ProblemKind::UnknownUpstream,
            ProblemKind::UnknownEndpoint,
            ProblemKind::BodyLate,
            ProblemKind::LastUsable,
            ProblemKind::DrainedByFile,
            ProblemKind::BodyTooLarge,
            ProblemKind::MediaType,
        ],
        ..Self::page("EndpointActOutcome")
    };
    /// `/v1/rollouts/{name}`.
    pub const ROLLOUT: Self = Self {
        parameters: &[ROLLOUT_NAME],
        problems: &[ProblemKind::BadBody, ProblemKind::BadQuery, ProblemKind::UnknownRollout],
        ..Self::page("Rollout")
    };
    /// `/v1/rollouts/{name}/hold` and its like.
    pub const ROLLOUT_ACT: Self = Self {
        parameters: &[ROLLOUT_NAME, KEY],
        body: Some(BodyDoc { schema: "RolloutAct", text: &[] }),
        problems: &[
            ProblemKind::BadBody,
            ProblemKind::BadQuery,
            ProblemKind::BadKey,
            ProblemKind::UnknownRollout,
            ProblemKind::UnknownScope,
            ProblemKind::UnknownStage,
            ProblemKind::BodyLate,
            ProblemKind::NotARollout,
            ProblemKind::NotRolledBack,
            ProblemKind::WrongState,
            ProblemKind::Blocked,
            ProblemKind::ChangeInFlight,
            ProblemKind::Stale,
            ProblemKind::BodyTooLarge,
            ProblemKind::MediaType,
            ProblemKind::KeyReused,
            ProblemKind::NotRecorded,
            ProblemKind::Stopping,
        ],
        ..Self::page("ActOutcome")
    };
    /// `/v1/rollouts/{name}/goto`.
    pub const GOTO: Self = Self { body: Some(BodyDoc { schema: "Goto", text: &[] }), ..Self::ROLLOUT_ACT };
    /// `/v1/rollouts/{name}/approve`.
    pub const APPROVE: Self = Self {
        body: Some(BodyDoc { schema: "Approve", text: &[] }),
        problems: &[
            ProblemKind::BadBody,
            ProblemKind::BadQuery,
            ProblemKind::BadKey,
            ProblemKind::NotApprover,
            ProblemKind::SamePerson,
            ProblemKind::UnknownRollout,
            ProblemKind::BodyLate,
            ProblemKind::NotARollout,
            ProblemKind::WrongState,
            ProblemKind::AlreadyApproved,
            ProblemKind::Blocked,
            ProblemKind::ChangeInFlight,
            ProblemKind::Stale,
            ProblemKind::BodyTooLarge,
            ProblemKind::MediaType,
            ProblemKind::KeyReused,
            ProblemKind::NotRecorded,
            ProblemKind::Stopping,
        ],
        ..Self::ROLLOUT_ACT
    };
    /// `/v1/notify/test`.
    pub const NOTIFY_TEST: Self = Self {
        body: Some(BodyDoc { schema: "NotifyTest", text: &[] }),
        problems: &[
            ProblemKind::BadBody,
            ProblemKind::UnknownReceiver,
            ProblemKind::BodyLate,
            ProblemKind::NoReceivers,
            ProblemKind::TestUnderWay,
            ProblemKind::BodyTooLarge,
            ProblemKind::MediaType,
        ],
        ..Self::page("NotifyTestOutcome")
    };
    /// `/v1/journal`.
    pub const JOURNAL: Self = Self {
        parameters: &[AFTER, LIMIT],
        problems: &[ProblemKind::BadQuery, ProblemKind::Failed],
        ..Self::page("JournalPage")
    };
    /// `/v1/history`.
    pub const HISTORY: Self = Self {
        parameters: &HISTORY,
        problems: &[ProblemKind::BadQuery, ProblemKind::UnknownRollout, ProblemKind::UnknownScope],
        ..Self::page("History")
    };
    /// `/v1/events`.
    pub const EVENTS: Self = Self {
        parameters: &[AFTER, LAST_EVENT_ID],
        problems: &[ProblemKind::BadQuery],
        ..Self::answering(AnswerDoc { media: "text/event-stream", schema: "Text" })
    };
    /// `/v1/config/check`.
    pub const CHECK: Self = Self {
        body: Some(BodyDoc { schema: "ConfigText", text: &["text/plain", "application/toml"] }),
        problems: &[ProblemKind::BadBody, ProblemKind::BodyLate, ProblemKind::BodyTooLarge, ProblemKind::MediaType],
        ..Self::page("ConfigCheck")
    };
    /// `/v1/config/reload`.
    pub const CONFIG_RELOAD: Self = Self {
        body: Some(BodyDoc { schema: "Reload", text: &[] }),
        problems: &[
            ProblemKind::BadBody,
            ProblemKind::BodyLate,
            ProblemKind::BodyTooLarge,
            ProblemKind::MediaType,
            ProblemKind::Rejected,
            ProblemKind::Stopping,
        ],
        ..Self::page("ReloadOutcome")
    };

    /// `/v1/session`, with POST.
    pub const SIGN_IN: Self = Self {
        body: Some(BodyDoc { schema: "SignIn", text: &[] }),
        problems: &[
            ProblemKind::BadBody,
            ProblemKind::TokenUnknown,
            ProblemKind::TokenExpired,
            ProblemKind::LinkUnknown,
            ProblemKind::RoleMissing,
            ProblemKind::BodyLate,
            ProblemKind::BodyTooLarge,
            ProblemKind::MediaType,
        ],
        ..Self::page("Session")
    };
    /// `/v1/session/link`.
    pub const SESSION_LINK: Self = Self {
        body: Some(BodyDoc { schema: "NoFields", text: &[] }),
        problems: &[
            ProblemKind::BadBody,
            ProblemKind::NoLink,
            ProblemKind::BodyLate,
            ProblemKind::BodyTooLarge,
            ProblemKind::MediaType,
        ],
        ..Self::page("SessionLink")
    };
    /// `/v1/session/end`.
    pub const SESSION_END: Self = Self {
        body: Some(BodyDoc { schema: "NoFields", text: &[] }),
        problems: &[ProblemKind::BadBody, ProblemKind::BodyLate, ProblemKind::BodyTooLarge, ProblemKind::MediaType],
        ..Self::page("SessionEnd")
    };

    /// A call that takes nothing and answers with JSON of this schema.
    pub const fn page(schema: &'static str) -> Self {
        Self::answering(AnswerDoc { media: "application/json", schema })
    }

    const fn answering(answer: AnswerDoc) -> Self {
        Self { parameters: &[], body: None, answer, problems: &[] }
    }
}
