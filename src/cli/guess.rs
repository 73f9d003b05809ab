//! Suggestions for commands of other proxies that Pointsman does not have.

/// The words, and what to do instead.
const GUESSES: &[(&[&str], &str)] = &[
    (
        &["test", "lint", "verify", "configtest", "validate-config"],
        "`pointsman check [FILE]` shows every error in a routes file",
    ),
    (
        &["start", "serve", "server", "up"],
        "`pointsman run [FILE]` runs the proxy; `pointsman run --to URL` needs no file",
    ),
    (&["proxy", "reverse-proxy"], "`pointsman run --to URL` runs a proxy without a file"),
    (
        &["stop", "shutdown", "quit"],
        "stop the process: `kill -TERM PID`, Ctrl-C or `systemctl stop pointsman`; it drains first",
    ),
    (
        &["restart", "upgrade"],
        "`kill -USR2 PID` hands over to a new process without a closed port; `pointsman reload` reads the file again",
    ),
    (
        &["abort", "rollback", "undo", "disable", "pause", "hold", "halt"],
        "`pointsman kill --variant ROUTE:VARIANT` takes a variant out of service at once: its callers go to stable",
    ),
    (
        &["enable", "unkill", "restore"],
        "`pointsman revive --variant ROUTE:VARIANT` lifts a kill; `pointsman kill` lists what is killed",
    ),
    (
        &["resume", "unlatch"],
        "`pointsman rollout resume ROUTE:VARIANT` ends a rollback by a guard; `pointsman revive` lifts a kill",
    ),
    (
        &["guard", "guards", "release", "releases", "rollouts"],
        "`pointsman rollout ls` shows the releases that guards watch, `pointsman rollout show NAME` the evidence",
    ),
    (
        &["limits", "rate-limit", "rate-limits", "ratelimit", "throttle", "quota"],
        "`pointsman limit ls` shows the rate limits of routes, and what they refuse",
    ),
    (
        &["healthchecks", "checks", "probes"],
        "`pointsman upstream ls` shows which endpoints are healthy, and why the others are not",
    ),
    (
        &["drain", "undrain", "eject", "admit", "upstreams", "endpoints"],
        "`pointsman upstream drain UPSTREAM ENDPOINT --reason TEXT` takes an endpoint out; `pointsman upstream ls` shows all",
    ),
    (&["audit", "history", "changelog", "who"], "`pointsman journal` shows who changed what, when and why"),
    (
        &["watch", "follow"],
        "`pointsman events --follow` prints decisions as they are made; `pointsman status --watch` the state",
    ),
    (&["login", "auth", "user", "users"], "`pointsman token new NAME --role operator` makes a token for the admin API"),
    (
        &["promote", "weight", "set-weight", "shift", "canary"],
        "edit `weight` of the canary in the routes file and save it; `pointsman what-if NEW` shows which callers it moves",
    ),
    (
        &["config", "edit", "adapt", "fmt", "routes"],
        "`pointsman check` checks the routes file, `pointsman init` writes one, `pointsman schema` prints its schema",
    ),
    (
        &["logs", "log", "tail"],
        "the access log goes to standard output or to `[access_log] sink`: `journalctl -u pointsman` or that file",
    ),
    (
        &["metrics", "stats", "stat", "ps", "ls", "list", "get", "describe", "info", "top"],
        "`pointsman status` shows the state of the proxy; metrics are at http://127.0.0.1:9900/metrics",
    ),
    (&["ui", "web", "gui", "open", "browser"], "`pointsman dashboard` prints a link that opens the dashboard"),
    (
        &["health", "healthcheck", "ping", "ready"],
        "`pointsman status --health` exits with 0 while the process is healthy",
    ),
    (&["diff", "simulate"], "`pointsman what-if NEW [--against OLD]` shows what an edit changes"),
    (
        &["route", "match", "why", "trace"],
        "`pointsman explain --host HOST --path PATH` shows which variant a request gets, and why",
    ),
    (&["new", "create", "generate"], "`pointsman init` writes a routes file to start from"),
    (
        &["experiment", "ab"],
        "`pointsman status` shows the variants of a route side by side; `pointsman compare` reports dark launches",
    ),
    (&["completion"], "`pointsman completions SHELL` prints a completion script"),
];

/// What to do instead of this command.
#[must_use]
pub fn suggestion(word: &str) -> Option<&'static str> {
    let word = word.to_ascii_lowercase();
    GUESSES.iter().find(|(words, _)| words.contains(&word.as_str())).map(|(_, instead)| *instead)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;
    use crate::cli::Arguments;

    #[test]
    fn no_guess_hides_a_command_and_every_pointer_leads_to_one() {
        let command = Arguments::command();
        let is_known = |word: &str| command.find_subcommand(word).is_some();
        let mut seen = std::collections::HashSet::new();
        for (words, instead) in GUESSES {
            for word in *words {
                assert!(!is_known(word), "{word} is a command");
                assert!(seen.insert(word), "{word} is there twice");
            }
            for pointer in instead.split("`pointsman ").skip(1) {
                let word = pointer.split([' ', '`']).next().unwrap_or_default();
                assert!(is_known(word), "{word} in {instead}");
            }
        }
        assert_eq!(suggestion("Undo"), suggestion("undo"));
        assert!(suggestion("undo").is_some() && suggestion("fly").is_none());
    }
}
