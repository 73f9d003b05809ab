//! `pointsman notify test`: a message to each receiver, at once, beside the queues.

use std::sync::Arc;

use tokio::sync::OwnedSemaphorePermit;

use super::alert::NotifyAlert;
use super::alerts::brief_alert;
use super::event::{NotifyTest, TestError, TestReply};
use super::notice::{Notice, NoticeFacts, NoticeKind};
use super::notifier::Notifier;
use super::queue::SendVerdict;
use super::send::{Outgoing, send};
use crate::clock::Clock;
use crate::route::{Receiver, Rules};

/// Sends a test message to this receiver, or to all; the answers come later.
pub(super) fn test(notifier: &Notifier, name: Option<&str>, rules: &Rules, clock: Clock, reply: TestReply) {
    match begin(notifier, name, rules) {
        Ok((chosen, permit)) => {
            let notice = Arc::new(message(clock));
            let alerts: Vec<NotifyAlert> = brief_alert(&notice).into_iter().collect();
            let one = |receiver| Outgoing {
                receiver,
                secret: rules.notify.secret.clone(),
                notice: Some(Arc::clone(&notice)),
                alerts: alerts.clone(),
                host: Arc::clone(&notifier.host),
            };
            let outgoing: Vec<Outgoing> = chosen.into_iter().map(one).collect();
            tokio::spawn(async move {
                let tries: Vec<_> = outgoing.into_iter().map(|one| tokio::spawn(try_once(one, clock))).collect();
                let mut answers = Vec::with_capacity(tries.len());
                for one in tries {
                    // The task ends with a panic only, which has been printed.
                    answers.extend(one.await.ok());
                }
                drop(permit);
                // An error means that the caller has left.
                let _ = reply.send(Ok(answers));
            });
        }
        Err(error) => {
            let _ = reply.send(Err(error));
        }
    }
}

/// The receivers, and the permission to send to them.
fn begin(
    notifier: &Notifier,
    name: Option<&str>,
    rules: &Rules,
) -> Result<(Vec<Receiver>, OwnedSemaphorePermit), TestError> {
    let all = &rules.notify.receivers;
    if all.is_empty() {
        return Err(TestError::NoReceivers);
    }
    let chosen: Vec<Receiver> = all.iter().filter(|one| name.is_none_or(|name| one.name == name)).cloned().collect();
    if chosen.is_empty() {
        let known = all.iter().map(|one| one.name.clone()).collect();
        return Err(TestError::Unknown { name: name.unwrap_or_default().to_owned(), known });
    }
    let permit = Arc::clone(&notifier.testing).try_acquire_owned().map_err(|_| TestError::Busy)?;
    Ok((chosen, permit))
}

fn message(clock: Clock) -> Notice {
    let at_ms = u64::try_from(clock.wall().as_millis()).unwrap_or(u64::MAX);
    let text = "This is a test message: notifications of this proxy arrive here. There is nothing to do.";
    let notice = Notice::new(format!("test-{at_ms}"), NoticeKind::Test, at_ms, "A test of notifications", text);
    notice.with_facts(NoticeFacts { who: Some("pointsman".to_owned()), ..NoticeFacts::default() })
}

async fn try_once(outgoing: Outgoing, clock: Clock) -> NotifyTest {
    let begun = clock.now();
    let outcome = send(&outgoing, clock.wall()).await;
    let took_ms = clock.now().saturating_duration_since(begun).as_secs_f64() * 1_000.0;
    let error = match outcome.verdict {
        SendVerdict::Arrived => None,
        SendVerdict::Refused(why) | SendVerdict::Failed(why) => Some(why),
    };
    NotifyTest { receiver: outgoing.receiver.name, status: outcome.status, took_ms, error }
}
