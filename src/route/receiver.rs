//! Notifications: `[notify]`, and `notify` of a rollout. Who gets a message, and where that is.

use super::HttpTarget;

/// Who is notified.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Notify {
    /// The receivers of the whole file, each once: those of `[notify] to`, then those of the rollouts by their names.
    pub receivers: Vec<Receiver>,
    /// `[notify] to`: the ids of those who get every message.
    pub to: Vec<String>,
    /// `[notify] secret`: what messages to webhooks are signed with.
    pub secret: Option<NotifySecret>,
}

/// A receiver of notifications.
#[derive(Clone, Debug, PartialEq)]
pub struct Receiver {
    /// The same for the same kind and URL, in each process: a part of a hash. It is the name of its queue in the outbox.
    pub id: String,
    /// For output: kind and host, such as `slack:hooks.slack.com`; with `#2` behind it where two have the same. It has no
    /// credentials.
    pub name: String,
    /// What it understands.
    pub kind: ReceiverKind,
    /// Where it is.
    pub target: HttpTarget,
}

/// What a receiver understands.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ReceiverKind {
    /// A JSON object with all facts, signed.
    Webhook,
    /// An incoming webhook of Slack.
    Slack,
    /// Version 2 of the API of Alertmanager.
    Alertmanager,
}

/// The secret that messages are signed with. It is not shown.
#[derive(Clone, PartialEq, Eq)]
pub struct NotifySecret(pub Vec<u8>);

impl std::fmt::Debug for NotifySecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("NotifySecret(***)")
    }
}

impl ReceiverKind {
    /// The word before the URL in the file.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Alertmanager => "alertmanager",
        }
    }
}
