//! Notifications: what people and their systems hear about a release. A decision never waits for them.
//!
//! A record of the journal becomes a notice, the outbox keeps it for each receiver until that has it, and a task sends it.

mod alert;
mod alertmanager_body;
mod alerts;
mod condition;
mod event;
mod notice;
mod notifier;
mod of_record;
mod outbox;
mod outbox_file;
mod perform;
mod queue;
mod send;
mod slack_body;
mod standing;
mod test_messages;
#[cfg(test)]
mod tests;
mod watched;
mod webhook_body;

pub use event::{NotifyEvent, NotifyTest, TestError, TestReply};
pub(super) use notifier::Notifier;
pub(super) use outbox_file::SavedOutbox;
pub use standing::{NotifyView, ReceiverStanding};
