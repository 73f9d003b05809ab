//! Why an act did nothing, as a problem document: each refusal of the controller has a kind and a remedy.

use serde_json::{Value, json};

use super::kills;
use super::problem::{CallProblem, ProblemKind};
use super::rollout_json::block;
use crate::control::release::ActError;
use crate::release::ActRefusal;

/// The problem of an act of `who` that did nothing.
pub(super) fn problem(error: ActError, who: &str) -> CallProblem {
    match error {
        ActError::Unknown { message, similar } => {
            let help = match &similar {
                Some(similar) => format!("did you mean `{similar}`? GET /v1/routes lists all"),
                None => "GET /v1/routes lists all".to_owned(),
            };
            let problem = ProblemKind::UnknownScope.because(message, help);
            match similar {
                Some(similar) => problem.with("similar", similar),
                None => problem,
            }
        }
        ActError::NothingToKill(why) => {
            ProblemKind::NothingToKill.because(why, "name a variant other than stable, or a route that has one")
        }
        ActError::NotKilled(scope) => {
            ProblemKind::NotKilled.because(format!("`{scope}` is not killed"), "GET /v1/kill lists what is killed")
        }
        ActError::KilledByFile { scope, place } => {
            let place = format!("{}:{}", place.file, place.line);
            let help = format!("remove it from [kill] at {place}, and reload");
            ProblemKind::KilledByFile.because(format!("{place} kills `{scope}`"), help).with("place", place)
        }
        ActError::NotRolledBack { release, state } => {
            let help = "GET /v1/rollouts lists the releases with their states";
            ProblemKind::NotRolledBack
                .because(format!("`{release}` is not rolled back: it is {state}"), help)
                .with("state", state)
        }
        ActError::Rollout { rollout, refusal } => refused(&rollout, refusal, who),
        ActError::Stale(records) => {
            let records: Vec<_> = records.iter().map(|record| kills::record(record)).collect();
            ProblemKind::Stale.because("others acted", "read the journal").with("records", records)
        }
        ActError::KeyReused => {
            let help = "send a new key for a new call";
            ProblemKind::KeyReused
                .because("the same key was sent with another call, or by another identity, within the last day", help)
        }
        ActError::InFlight(rollout) => {
            let detail = format!("a change of rollout {rollout} waits for the disk");
            ProblemKind::ChangeInFlight.because(detail, "try again in a moment")
        }
        ActError::NotRecorded(why) => {
            let help = "this call raises exposure, and such calls are recorded first: make the journal writable (see \
                        `journal` in /status), then try again";
            ProblemKind::NotRecorded.because(why, help)
        }
        ActError::TooMany(count) => {
            let help = "lift some of them, or kill a route or variant: those always can be";
            ProblemKind::TooManyKills.because(format!("{count} kills are in force"), help)
        }
        ActError::Stopping => ProblemKind::Stopping.because("the proxy is stopping", "ask the process that takes over"),
    }
}

/// The problem of an act that a rollout does not take.
fn refused(rollout: &str, refusal: ActRefusal, who: &str) -> CallProblem {
    let shown = format!("GET /v1/rollouts/{rollout} shows where it is");
    let problem = match refusal {
        ActRefusal::WrongState { message, help } => {
            let help = if help.is_empty() { shown } else { help };
            ProblemKind::WrongState.because(message, help)
        }
        ActRefusal::NoStage { stage, similar } => {
            let help = match &similar {
                Some(similar) => format!("did you mean `{similar}`? {shown}, with its stages"),
                None => format!("{shown}, with its stages"),
            };
            let problem = ProblemKind::UnknownStage.because(format!("`{rollout}` has no stage `{stage}`"), help);
            match similar {
                Some(similar) => problem.with("similar", similar),
                None => problem,
            }
        }
        ActRefusal::NotApprover { role, awaited } => not_approver(rollout, role.as_deref(), awaited, who),
        ActRefusal::SamePerson { role } => {
            let detail = format!("`{who}` has approved this stage of `{rollout}` as {role}");
            let help =
                "another person approves as the other role; `same_person = true` in the rollout permits one for all";
            ProblemKind::SamePerson.because(detail, help).with("role", role)
        }
        ActRefusal::AlreadyApproved { role, by } => {
            let detail = format!("{by} has approved this stage of `{rollout}` as {role}");
            ProblemKind::AlreadyApproved.because(detail, shown).with("role", role)
        }
        ActRefusal::Blocked(blocks) => {
            let detail = match blocks.first() {
                Some(first) => format!("`{rollout}`: {}: {}", first.kind.name(), first.says),
                None => format!("`{rollout}` cannot go on now"),
            };
            let help = blocks.first().map_or(shown, |first| first.unblock.clone());
            let blocks: Vec<Value> = blocks.iter().map(block).collect();
            ProblemKind::Blocked.because(detail, help).with("blocks", blocks)
        }
    };
    problem.with("rollout", json!(rollout))
}

/// The problem of `who`, who may not approve as this role, or as none of those that are waited for.
fn not_approver(rollout: &str, role: Option<&str>, awaited: Vec<String>, who: &str) -> CallProblem {
    let detail = match role {
        Some(role) => format!("`{who}` may not approve `{rollout}` as {role}"),
        None => format!("`{who}` may not approve `{rollout}` as a role that it waits for"),
    };
    let waits = if awaited.is_empty() {
        "it waits for no approval".to_owned()
    } else {
        format!("it waits for {}", awaited.join(", "))
    };
    let role = role.or(awaited.first().map(String::as_str));
    let role = role.and_then(|role| role.split(' ').next()).unwrap_or("ROLE");
    let help = format!(
        "{waits}; a name counts that stands in `approvers` of the rollout, and a token needs `approver:{role}` too"
    );
    ProblemKind::NotApprover.because(detail, help).with("awaited", awaited)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::release::{Block, BlockKind};

    fn of(refusal: ActRefusal) -> CallProblem {
        problem(ActError::Rollout { rollout: "cart-v2".to_owned(), refusal }, "bo")
    }

    #[test]
    fn each_refusal_has_a_kind_a_remedy_and_its_data() {
        let [tech, ana, beta] = ["tech-lead", "ana", "beta"].map(str::to_owned);
        let until = Block {
            kind: BlockKind::Duration,
            says: "12 min of 30 min".to_owned(),
            unblock: "18 min more in this stage".to_owned(),
            until_ms: Some(1_000),
        };
        let wrong = ActRefusal::WrongState { message: "it runs".to_owned(), help: String::new() };
        for (refusal, kind, status, help) in [
            (wrong, ProblemKind::WrongState, 409, "GET /v1/rollouts/cart-v2"),
            (
                ActRefusal::NoStage { stage: "beat".to_owned(), similar: Some(beta) },
                ProblemKind::UnknownStage,
                404,
                "did you mean `beta`?",
            ),
            (
                ActRefusal::NotApprover { role: None, awaited: vec!["tech-lead (ana)".to_owned()] },
                ProblemKind::NotApprover,
                403,
                "it waits for tech-lead (ana)",
            ),
            (ActRefusal::SamePerson { role: tech.clone() }, ProblemKind::SamePerson, 403, "another person"),
            (
                ActRefusal::AlreadyApproved { role: tech, by: ana },
                ProblemKind::AlreadyApproved,
                409,
                "GET /v1/rollouts/cart-v2",
            ),
            (ActRefusal::Blocked(vec![until]), ProblemKind::Blocked, 409, "18 min more"),
            (ActRefusal::Blocked(Vec::new()), ProblemKind::Blocked, 409, "GET /v1/rollouts/cart-v2"),
        ] {
            let problem = of(refusal);
            assert_eq!((problem.kind, problem.kind.status()), (kind, status));
            assert!(problem.help.contains(help), "{problem:?}");
            assert_eq!(problem.to_json()["rollout"], "cart-v2");
        }
    }

    #[test]
    fn a_refused_approval_names_the_identity_and_the_role() {
        let awaited = || vec!["tech-lead".to_owned(), "product".to_owned()];
        let named = of(ActRefusal::NotApprover { role: Some("operations".to_owned()), awaited: awaited() });
        assert_eq!(named.detail, "`bo` may not approve `cart-v2` as operations");
        assert!(named.help.ends_with("a token needs `approver:operations` too"), "{named:?}");
        let any = of(ActRefusal::NotApprover { role: None, awaited: awaited() });
        assert!(any.help.starts_with("it waits for tech-lead, product; "), "{any:?}");
        assert!(any.help.ends_with("`approver:tech-lead` too"), "{any:?}");
        let twice = of(ActRefusal::SamePerson { role: "product".to_owned() });
        assert_eq!(twice.detail, "`bo` has approved this stage of `cart-v2` as product");
    }

    #[test]
    fn blocks_are_data() {
        let kinds = [BlockKind::Freeze, BlockKind::Approval];
        let blocks = kinds.map(|kind| Block { kind, says: "s".to_owned(), unblock: "u".to_owned(), until_ms: None });
        let document = of(ActRefusal::Blocked(blocks.into())).to_json();
        let names: Vec<&Value> =
            document["blocks"].as_array().expect("a list").iter().map(|block| &block["kind"]).collect();
        assert_eq!(names, ["freeze", "approval"]);
        assert_eq!(document["blocks"][0]["until"], Value::Null);
    }
}
