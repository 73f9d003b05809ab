//! A record of the journal: one line of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::route::KillScope;

/// The version of the format. A process does not change a journal of a newer version.
pub const JOURNAL_VERSION: u32 = 1;

/// A record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format.
    pub v: u32,
    /// The sequence number, from 1, without gaps. A checkpoint has the number of the last record that it includes.
    pub seq: u64,
    /// When it was decided: RFC 3339 with milliseconds, UTC.
    pub at: String,
    /// Who decided.
    pub who: Actor,
    /// What was decided.
    #[serde(flatten)]
    pub what: Deed,
    /// Why, in the words of the person.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// The `Idempotency-Key` of the call.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<IdempotencyKey>,
    /// The hash of the configuration in effect.
    pub config: String,
    /// The generation in effect.
    pub generation: u64,
    /// SHA-256 of the previous line without its line feed, in hex; empty for the first record.
    pub prev: String,
}

/// Who decided.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Actor {
    /// The name: of a user, of a token, or `pointsman`.
    pub name: String,
    /// How the identity was established.
    pub via: Via,
}

/// How an identity was established.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Via {
    /// The peer credentials of the Unix socket.
    Socket,
    /// A token.
    Token,
    /// A client certificate.
    Certificate,
    /// A connection from this machine, without an identity.
    Loopback,
    /// An edit of the files.
    File,
    /// A signal.
    Signal,
    /// The proxy itself.
    Process,
}

/// What was decided.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "snake_case")]
pub enum Deed {
    /// The process started.
    Start {
        /// The version of the program.
        version: String,
        /// The name of the machine.
        host: String,
        /// The process id.
        pid: u32,
    },
    /// The files were applied or rejected.
    Reload {
        /// What caused it: `watch`, `signal` or `asked`.
        cause: String,
        /// `applied` or `rejected`.
        outcome: String,
        /// The changes, for people.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        summary: Vec<String>,
        /// The diagnostics of a rejected reload.
        #[serde(default, skip_serializing_if = "Value::is_null")]
        diagnostics: Value,
    },
    /// A scope was taken out of service.
    Kill {
        /// The scope.
        #[serde(flatten)]
        scope: ScopeFields,
        /// Streams in the scope are closed after this many milliseconds; without it, `kill.close_streams` applies.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        close_streams_ms: Option<u64>,
    },
    /// A kill was lifted.
    Revive {
        /// The scope.
        #[serde(flatten)]
        scope: ScopeFields,
    },
    /// A revive that was asked for, and refused because the journal could not be written: the scope stays killed.
    Refused {
        /// The scope.
        #[serde(flatten)]
        scope: ScopeFields,
        /// Why the journal could not be written.
        because: String,
    },
    /// A person took an endpoint of an upstream out of service, or back. It is not folded: a start begins with all
    /// endpoints in service.
    Endpoint {
        /// `drain`, `undrain`, `eject` or `admit`.
        act: String,
        /// The upstream.
        upstream: String,
        /// The endpoint as it was named: `HOST:PORT` as in the file, or an address.
        endpoint: String,
        /// Also if no usable endpoint was left.
        #[serde(default, skip_serializing_if = "is_false")]
        force: bool,
    },
    /// The state so far: the first record of each file but the very first, so that reading begins there; also in the
    /// middle of a file, where records were lost before they could be written.
    Checkpoint {
        /// The kills in force, each with the sequence number of its record.
        kills: Vec<Record>,
        /// The records of the last day that have an `Idempotency-Key`.
        keys: Vec<Record>,
        /// Why a new file was begun.
        because: String,
    },
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde passes a reference")]
const fn is_false(flag: &bool) -> bool {
    !*flag
}

/// A scope as JSON: exactly one of the fields is set.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ScopeFields {
    /// Everything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub all: Option<bool>,
    /// A route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub route: Option<String>,
    /// A variant, as `route:variant`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
    /// A tenant.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tenant: Option<String>,
    /// The shadow of a route.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shadow: Option<String>,
}

/// The `Idempotency-Key` of a call, and the digest of the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// The key that the caller chose.
    pub key: String,
    /// SHA-256 of method, path and body, in hex: the same key with another call is an error.
    pub call: String,
}

impl Actor {
    /// The proxy itself.
    #[must_use]
    pub fn process() -> Self {
        Self { name: "pointsman".to_owned(), via: Via::Process }
    }
}

impl ScopeFields {
    /// The scope; `None` unless exactly one field is set.
    #[must_use]
    pub fn scope(&self) -> Option<KillScope> {
        let variant = |text: &String| {
            let (route, variant) = text.split_once(':')?;
            Some(KillScope::Variant { route: route.to_owned(), variant: variant.to_owned() })
        };
        let set = [
            self.all.filter(|all| *all).map(|_| KillScope::All),
            self.route.clone().map(KillScope::Route),
            self.variant.as_ref().and_then(variant),
            self.tenant.clone().map(KillScope::Tenant),
            self.shadow.clone().map(KillScope::Shadow),
        ];
        let count = [self.all.is_some(), self.route.is_some(), self.variant.is_some(), self.tenant.is_some()];
        let count = count.iter().filter(|set| **set).count() + usize::from(self.shadow.is_some());
        set.into_iter().flatten().next().filter(|_| count == 1)
    }
}

impl From<&KillScope> for ScopeFields {
    fn from(scope: &KillScope) -> Self {
        let mut fields = Self::default();
        match scope {
            KillScope::All => fields.all = Some(true),
            KillScope::Route(name) => fields.route = Some(name.clone()),
            KillScope::Variant { route, variant } => fields.variant = Some(format!("{route}:{variant}")),
            KillScope::Tenant(name) => fields.tenant = Some(name.clone()),
            KillScope::Shadow(name) => fields.shadow = Some(name.clone()),
        }
        fields
    }
}

/// RFC 3339 with milliseconds, UTC, of a time since the Unix epoch.
#[must_use]
pub fn rfc3339(at: Duration) -> String {
    let millis = i64::try_from(at.as_millis()).unwrap_or(i64::MAX);
    jiff::Timestamp::from_millisecond(millis).map_or_else(|_| String::new(), |at| format!("{at:.3}"))
}
