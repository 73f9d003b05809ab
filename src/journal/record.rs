//! A record of the journal: one line of JSON.

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::route::KillScope;

/// The newest version of the format that is read. A process does not change a journal of a newer version. Version 2 has
/// decisions about releases, version 3 about rollouts, and kills of them, version 4 rehearsals; a record has the lowest version that can express
/// it, so that a journal without such decisions stays readable for a program that knows an earlier version alone.
pub const JOURNAL_VERSION: u32 = 4;

/// The act of a record about a rollback that was rehearsed, and measured: nothing has changed since that.
pub(super) const REHEARSED: &str = "rehearsed";

/// The version without rehearsals.
const WITHOUT_REHEARSALS: u32 = 3;

/// The version without decisions about rollouts.
const WITHOUT_ROLLOUTS: u32 = 2;

/// The version without decisions about releases.
const WITHOUT_RELEASES: u32 = 1;

/// A record.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Record {
    /// The version of the format, from 1: the lowest that has a record of this kind.
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
    /// A guard; the name is that of the guard.
    Guard,
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
    /// A decision about the release of a static weight.
    Release(ReleaseDeed),
    /// A decision about a rollout.
    Rollout(RolloutDeed),
    /// The state so far: the first record of each file but the very first, so that reading begins there; also in the
    /// middle of a file, where records were lost before they could be written.
    Checkpoint {
        /// The kills in force, each with the sequence number of its record.
        kills: Vec<Record>,
        /// The records of the last day that have an `Idempotency-Key`.
        keys: Vec<Record>,
        /// The latches in force, each the record of its rollback.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        latches: Vec<Record>,
        /// Where rollouts stand, each its newest record, without evidence.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        rollouts: Vec<Record>,
        /// Why a new file was begun.
        because: String,
    },
}

/// A decision about a release.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ReleaseDeed {
    /// What was decided.
    pub act: ReleaseVerb,
    /// The release: `route:variant`.
    pub release: String,
    /// The revision: `upstream=revision`.
    pub revision: String,
    /// Why a release is held: `canary down` or `no rollback target`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub because: Option<String>,
    /// What the guard saw, with the counts by which `journal --replay` decides again.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub evidence: Value,
}

/// A decision about a rollout.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RolloutDeed {
    /// What was decided, such as `enter` or `rollback`. `refused`: a raise that the disk did not take; nothing has changed,
    /// and `stage` and `because` say what was to be raised.
    pub act: String,
    /// The rollout.
    pub rollout: String,
    /// The revision of its canaries.
    pub revision: String,
    /// The stage where it is after this.
    pub stage: String,
    /// The weight before, in percent.
    pub from: f64,
    /// The weight that this leads to, in percent.
    pub to: f64,
    /// It raises exposure, or lets something do so: its record is durable before it takes effect.
    #[serde(default, skip_serializing_if = "is_false")]
    pub raises: bool,
    /// Why, in one sentence.
    pub because: String,
    /// The role of an approval.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub role: Option<String>,
    /// The names of its routes. A route that joins between two starts does not get the weight of the others.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub routes: Vec<String>,
    /// Plan, state and facts of an automatic decision, by which `journal --replay` decides again. Of a rehearsal what was
    /// measured.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub evidence: Value,
    /// The state after it: a start goes on from here. It is null where nothing has changed: the state of the record before
    /// holds. Only `refused`, `rehearsed` and `archive` may have none.
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub state: Value,
}

/// What was decided about a release.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ReleaseVerb {
    /// A guard tripped that does not act on the weight.
    Warn,
    /// The release stays at 0 until a person resumes it, or until its upstream has another revision.
    Rollback,
    /// The release is held: at 0 while none of its endpoints can be reached, or at its weight where a rollback has no
    /// target.
    Hold,
    /// A hold has ended by itself.
    Unhold,
    /// A person ended the latch of a rollback. Evidence begins anew.
    Resume,
    /// A resume that was asked for, and refused because the journal could not be written: the latch stays.
    Refused,
}

/// A release under one revision: what a rollback latches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct LatchScope {
    /// The release: `route:variant`.
    pub release: String,
    /// The revision: `upstream=revision`.
    pub revision: String,
}

/// The lowest version that has all of these.
pub(super) fn version_of_state(kills: &[Record], latches: &[Record], rollouts: &[Record]) -> u32 {
    let records = kills.iter().chain(latches).chain(rollouts);
    records.map(|record| record.what.version()).fold(WITHOUT_RELEASES, u32::max)
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
    /// A rollout.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rollout: Option<String>,
}

/// The `Idempotency-Key` of a call, and the digest of the call.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotencyKey {
    /// The key that the caller chose.
    pub key: String,
    /// SHA-256 of method, path and body, in hex: the same key with another call is an error.
    pub call: String,
}

impl Deed {
    /// The lowest version of the format that has this deed.
    #[must_use]
    pub fn version(&self) -> u32 {
        match self {
            Self::Rollout(deed) if deed.act == REHEARSED => JOURNAL_VERSION,
            Self::Rollout(_) => WITHOUT_REHEARSALS,
            Self::Release(_) => WITHOUT_ROLLOUTS,
            Self::Kill { scope, .. } | Self::Revive { scope } | Self::Refused { scope, .. } => {
                if scope.rollout.is_some() { WITHOUT_REHEARSALS } else { WITHOUT_RELEASES }
            }
            Self::Checkpoint { kills, latches, rollouts, .. } => version_of_state(kills, latches, rollouts),
            Self::Start { .. } | Self::Reload { .. } | Self::Endpoint { .. } => WITHOUT_RELEASES,
        }
    }

    /// Whether it raises exposure: a revive, or a resume. Its record is durable before it takes effect.
    #[must_use]
    pub const fn raises(&self) -> bool {
        match self {
            Self::Revive { .. } => true,
            Self::Release(deed) => matches!(deed.act, ReleaseVerb::Resume),
            Self::Rollout(deed) => deed.raises,
            Self::Start { .. }
            | Self::Reload { .. }
            | Self::Kill { .. }
            | Self::Refused { .. }
            | Self::Endpoint { .. }
            | Self::Checkpoint { .. } => false,
        }
    }

    /// What it latches; `None` unless it is a rollback.
    #[must_use]
    pub fn latched(&self) -> Option<LatchScope> {
        match self {
            Self::Release(deed) if deed.act == ReleaseVerb::Rollback => Some(deed.scope()),
            Self::Start { .. }
            | Self::Reload { .. }
            | Self::Kill { .. }
            | Self::Revive { .. }
            | Self::Refused { .. }
            | Self::Endpoint { .. }
            | Self::Release(_)
            | Self::Rollout(_)
            | Self::Checkpoint { .. } => None,
        }
    }
}

impl ReleaseDeed {
    /// The release under its revision.
    #[must_use]
    pub fn scope(&self) -> LatchScope {
        LatchScope { release: self.release.clone(), revision: self.revision.clone() }
    }

    /// What the guard saw, in one sentence.
    #[must_use]
    pub fn sentence(&self) -> Option<&str> {
        self.evidence.get("sentence").and_then(Value::as_str)
    }
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
            self.rollout.clone().map(KillScope::Rollout),
        ];
        let others = [&self.route, &self.variant, &self.tenant, &self.shadow, &self.rollout];
        let count = usize::from(self.all.is_some()) + others.iter().filter(|set| set.is_some()).count();
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
            KillScope::Rollout(name) => fields.rollout = Some(name.clone()),
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
