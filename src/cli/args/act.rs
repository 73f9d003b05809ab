//! Commands that act on a running proxy: `kill`, `revive`.

use std::time::Duration;

use clap::Args;

use super::live::AdminArguments;
use crate::config;
use crate::route::KillScope;

/// What is killed or revived.
#[derive(Clone, Debug, Default, Args)]
#[group(id = "scope", multiple = false)]
pub struct ScopeArguments {
    /// Everything.
    #[arg(long, help = "Everything: all routes, variants and copies, as one kill")]
    pub all: bool,
    /// A route.
    #[arg(long, value_name = "ROUTE", value_parser = name, help = "All variants of this route but stable")]
    pub route: Option<String>,
    /// A variant.
    #[arg(long, value_name = "ROUTE:VARIANT", value_parser = variant)]
    #[arg(help = "One variant of a route; its callers get stable")]
    pub variant: Option<KillScope>,
    /// A rollout.
    #[arg(long, value_name = "NAME", value_parser = name, help = "All variants that a rollout moves")]
    pub rollout: Option<String>,
    /// A tenant.
    #[arg(long, value_name = "TENANT", value_parser = name, help = "A tenant, on every route")]
    pub tenant: Option<String>,
    /// A shadow.
    #[arg(long, value_name = "ROUTE", value_parser = name, help = "The copies of the requests of this route")]
    pub shadow: Option<String>,
    /// A scope without its option, as people type it in a hurry.
    #[arg(value_name = "SCOPE", value_parser = without_option, hide = true)]
    pub bare: Option<String>,
}

impl ScopeArguments {
    /// The scope; nothing when none is named.
    #[must_use]
    pub fn scope(&self) -> Option<KillScope> {
        let all = self.all.then_some(KillScope::All);
        let route = || self.route.clone().map(KillScope::Route);
        let rollout = || self.rollout.clone().map(KillScope::Rollout);
        let tenant = || self.tenant.clone().map(KillScope::Tenant);
        let shadow = || self.shadow.clone().map(KillScope::Shadow);
        all.or_else(route).or_else(|| self.variant.clone()).or_else(rollout).or_else(tenant).or_else(shadow)
    }
}

/// How an answer is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ActOutput {
    /// For people.
    Text,
    /// As the API gives it.
    Json,
}

/// `kill`.
#[derive(Debug, Args)]
#[command(after_help = "\
The kill is in force on all workers before the command ends. It survives reloads and restarts, works while the file on \
disk is invalid, and only `revive` lifts it. On a terminal the command asks for the reason, and for a yes when more \
than one route is concerned. `kill --all` is a kill of its own, beside those of routes and variants. Without a scope \
the command lists what is killed.

EXIT CODES
  0   in force
  1   no proxy answers, or not in force on all workers after a second
  2   refused: no such route, no permission, or the question was answered with no
  5   in force, but not recorded: a restart forgets it

EXAMPLE
  pointsman kill --variant shop:canary --reason 'errors since 14:02'
  pointsman kill --all --reason 'INC-4711' --yes
  pointsman kill --route search --reason 'INC-4711' --close-streams 5s
  pointsman kill --rollout checkout-v2 --reason 'INC-4711'
  pointsman kill                      # what is killed, by whom, why, since when")]
pub struct KillArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The scope.
    #[command(flatten)]
    pub scope: ScopeArguments,
    /// Why.
    #[arg(long, value_name = "TEXT", value_parser = reason, requires = "scope", help = "Why, for the journal")]
    pub reason: Option<String>,
    /// When streams are closed.
    #[arg(long, value_name = "DURATION", value_parser = duration, requires = "scope")]
    #[arg(help = "Close open streams in the scope after this time [default: as kill.close_streams of the file]")]
    pub close_streams: Option<Duration>,
    /// No question.
    #[arg(long, requires = "scope", help = "Do not ask for a yes")]
    pub yes: bool,
    /// The kills in force.
    #[arg(long, conflicts_with = "scope", help = "List what is killed, as without a scope")]
    pub list: bool,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the response of the API")]
    pub json: bool,
}

impl KillArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}

/// `revive`.
#[derive(Debug, Args)]
#[command(after_help = "\
Lifts the one kill of exactly this scope that was made by `kill` or the API: `--all` lifts the kill `all`, not those of \
routes and variants; `--every-kill` lifts them all. What comes back is shown before, on a terminal, and what is still \
killed by others is shown after. A kill in the routes file is lifted by an edit of the file. A rollout stays at 0 after \
its kill, and is `held: revived`, until `rollout resume` or --resume.

EXIT CODES
  0   lifted
  1   no proxy answers, the journal cannot be written, or one of --every-kill was not lifted
  2   refused: not killed, killed by the file, no permission, or the question was answered with no

EXAMPLE
  pointsman revive --variant shop:canary --reason 'fixed in 2.0.1'
  pointsman revive --all --reason 'INC-4711 is over' --yes
  pointsman revive --rollout checkout-v2 --reason 'fixed' --resume
  pointsman revive --every-kill --reason 'INC-4711 is over'")]
#[expect(clippy::struct_excessive_bools, reason = "each is an option of the command line")]
pub struct ReviveArguments {
    /// The proxy.
    #[command(flatten)]
    pub admin: AdminArguments,
    /// The scope.
    #[command(flatten)]
    pub scope: ScopeArguments,
    /// All that people killed.
    #[arg(long, conflicts_with = "scope", help = "Lift each kill that people made, one act each")]
    pub every_kill: bool,
    /// Both acts.
    #[arg(long, requires = "scope", conflicts_with_all = ["all", "tenant", "shadow"])]
    #[arg(help = "Resume the rollout of this scope too: it gets its weight again")]
    pub resume: bool,
    /// Why.
    #[arg(long, value_name = "TEXT", value_parser = reason, help = "Why, for the journal")]
    pub reason: Option<String>,
    /// No question.
    #[arg(long, help = "Do not ask for a yes")]
    pub yes: bool,
    /// JSON instead of text.
    #[arg(long, help = "Print JSON: the response of the API")]
    pub json: bool,
}

impl ReviveArguments {
    /// How the answer is printed.
    #[must_use]
    pub const fn output(&self) -> ActOutput {
        if self.json { ActOutput::Json } else { ActOutput::Text }
    }
}

fn name(text: &str) -> Result<String, String> {
    if text.is_empty() { Err("a name is missing".to_owned()) } else { Ok(text.to_owned()) }
}

/// Refuses a bare name, which may be that of a route or of a tenant.
fn without_option(text: &str) -> Result<String, String> {
    if text.contains(':') {
        return Err(format!("write --variant {text}"));
    }
    let all = ["all", "everything", "*"].contains(&text);
    Err(if all {
        "write --all".to_owned()
    } else {
        format!("write --route {text}, --rollout {text}, --tenant {text} or --shadow {text}")
    })
}

/// A variant of a route. Without the route, which is empty then, it is looked for in what runs.
fn variant(text: &str) -> Result<KillScope, String> {
    if !text.is_empty() && !text.contains(':') {
        return Ok(KillScope::Variant { route: String::new(), variant: text.to_owned() });
    }
    let parts = text.split_once(':').filter(|(route, variant)| !route.is_empty() && !variant.is_empty());
    let (route, variant) = parts.ok_or_else(|| "write ROUTE:VARIANT, such as shop:canary".to_owned())?;
    Ok(KillScope::Variant { route: route.to_owned(), variant: variant.to_owned() })
}

/// Reads a reason.
pub(super) fn reason(text: &str) -> Result<String, String> {
    let text = text.trim();
    if text.is_empty() {
        Err("a reason is a text that others understand later".to_owned())
    } else {
        Ok(text.to_owned())
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    config::parse_duration(text).ok_or_else(|| "write a duration as 0s, 250ms, 5s or 2m".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_scope_is_one_of_its_options() {
        let scope = |scope: ScopeArguments| scope.scope();
        let none = ScopeArguments::default;
        assert_eq!(scope(none()), None);
        assert_eq!(scope(ScopeArguments { all: true, ..none() }), Some(KillScope::All));
        let named = || Some("a".to_owned());
        assert_eq!(scope(ScopeArguments { rollout: named(), ..none() }), Some(KillScope::Rollout("a".to_owned())));
        assert_eq!(scope(ScopeArguments { route: named(), ..none() }), Some(KillScope::Route("a".to_owned())));
        assert_eq!(scope(ScopeArguments { tenant: named(), ..none() }), Some(KillScope::Tenant("a".to_owned())));
        assert_eq!(scope(ScopeArguments { shadow: named(), ..none() }), Some(KillScope::Shadow("a".to_owned())));
        let canary = KillScope::Variant { route: "shop".to_owned(), variant: "canary".to_owned() };
        assert_eq!(variant("shop:canary"), Ok(canary.clone()));
        assert_eq!(scope(ScopeArguments { variant: Some(canary.clone()), ..none() }), Some(canary));
        let bare = KillScope::Variant { route: String::new(), variant: "canary".to_owned() };
        assert_eq!(variant("canary"), Ok(bare));
        for wrong in [":canary", "shop:", ""] {
            assert!(variant(wrong).unwrap_err().contains("ROUTE:VARIANT"), "{wrong}");
        }
        for (bare, option) in [("shop:canary", "--variant shop:canary"), ("all", "--all"), ("shop", "--route shop")] {
            assert!(without_option(bare).unwrap_err().contains(option), "{bare}");
        }
        assert!(reason("  ").is_err() && reason(" INC-1 ") == Ok("INC-1".to_owned()));
    }
}
