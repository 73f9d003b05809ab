//! `/v1/notify`: how the receivers of notifications stand, and test messages to them.

use axum::body::Body;
use axum::extract::State;
use axum::response::Response;
use http::{HeaderMap, StatusCode};
use serde::Deserialize;
use serde_json::{Value, json};
use tokio::sync::oneshot;

use super::body::CallBody;
use super::calls::AdminState;
use super::fields::{NAME_CHARS_MAX, check_text, present};
use super::notify_json::receivers;
use super::problem::{CallProblem, ProblemForm, ProblemKind};
use super::response::pretty;
use crate::config::nearest;
use crate::control::event::Event;
use crate::control::notify::{NotifyEvent, NotifyTest, TestError};
use crate::control::state::ControlState;

/// The body of `/v1/notify/test`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct TestBody {
    #[serde(default, deserialize_with = "present")]
    receiver: Option<String>,
}

/// `/v1/notify`.
pub(super) fn notify_page(state: &ControlState) -> Response {
    pretty(StatusCode::OK, &json!({ "receivers": receivers(state) }))
}

pub(super) async fn test(State(state): State<AdminState>, headers: HeaderMap, body: Body) -> Response {
    match tested(&state, &headers, body).await {
        Ok(answers) => pretty(StatusCode::OK, &outcome(&answers)),
        Err(problem) => problem.respond(ProblemForm::Document),
    }
}

async fn tested(state: &AdminState, headers: &HeaderMap, body: Body) -> Result<Vec<NotifyTest>, CallProblem> {
    let body = CallBody::read(headers, body, &["application/json"]).await?;
    let TestBody { receiver } = body.json()?;
    if let Some(name) = &receiver {
        check_text("receiver", name, NAME_CHARS_MAX)?;
    }
    let (reply, replied) = oneshot::channel();
    let stopping = || ProblemKind::Stopping.because("the proxy is stopping", "ask the process that takes over");
    state.events.send(Event::Notify(NotifyEvent::Test(receiver, reply))).await.map_err(|_| stopping())?;
    replied.await.map_err(|_| stopping())?.map_err(problem)
}

fn outcome(answers: &[NotifyTest]) -> Value {
    let one = |answer: &NotifyTest| {
        json!({
            "receiver": answer.receiver,
            "arrived": answer.error.is_none(),
            "status": answer.status,
            "took_ms": answer.took_ms,
            "error": answer.error,
        })
    };
    json!({
        "arrived": answers.iter().all(|answer| answer.error.is_none()),
        "receivers": answers.iter().map(one).collect::<Vec<_>>(),
    })
}

fn problem(error: TestError) -> CallProblem {
    match error {
        TestError::NoReceivers => {
            let help = "add `[notify]` with `to = [\"slack:https://…\"]`, or `notify` to a rollout";
            ProblemKind::NoReceivers.because("there is no receiver to send to", help)
        }
        TestError::Unknown { name, known } => {
            let similar = nearest(&name, known.iter().map(String::as_str)).map(str::to_owned);
            let list = known.join(", ");
            let help = match &similar {
                Some(similar) => format!("did you mean `{similar}`? known: {list}"),
                None => format!("known: {list}"),
            };
            let problem = ProblemKind::UnknownReceiver.because(format!("there is no receiver `{name}`"), help);
            let problem = problem.with("known", known);
            match similar {
                Some(similar) => problem.with("similar", similar),
                None => problem,
            }
        }
        TestError::Busy => {
            ProblemKind::TestUnderWay.because("another test is under way", "try again when it has ended")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_refusal_says_what_to_do() {
        let known = vec!["slack:hooks.slack.com".to_owned(), "webhook:a".to_owned()];
        let unknown = |name: &str| problem(TestError::Unknown { name: name.to_owned(), known: known.clone() });
        let value = unknown("slack:hook.slack.com").to_json();
        assert_eq!(value["status"], 404);
        assert_eq!(value["similar"], "slack:hooks.slack.com");
        assert_eq!(value["known"], json!(known));
        assert_eq!(unknown("x").to_json()["help"], "known: slack:hooks.slack.com, webhook:a");
        assert_eq!(problem(TestError::NoReceivers).to_json()["status"], 409);
        assert_eq!(problem(TestError::Busy).to_json()["status"], 409);
    }

    #[test]
    fn all_have_arrived_when_none_has_not() {
        let answer = |error: Option<&str>| NotifyTest {
            receiver: "webhook:a".to_owned(),
            status: error.is_none().then_some(200),
            took_ms: 1.5,
            error: error.map(str::to_owned),
        };
        assert_eq!(outcome(&[answer(None)])["arrived"], true);
        let value = outcome(&[answer(None), answer(Some("connection refused"))]);
        assert_eq!((&value["arrived"], &value["receivers"][1]["arrived"]), (&json!(false), &json!(false)));
    }
}
