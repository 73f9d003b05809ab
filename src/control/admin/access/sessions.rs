//! The sessions of the dashboard, and the links for one use that begin one. They are in memory only, and end with the
//! process. Secrets are not kept, only their SHA-256. Time is an argument.

use std::fmt::Write as _;
use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::rand::{SecureRandom, SystemRandom};

use super::identity::{AdminIdentity, LiveSession, sha256};
use crate::control::admin::problem::{CallProblem, ProblemKind};

/// How long a session lasts.
pub(in crate::control::admin) const SESSION_LIFE: Duration = Duration::from_hours(12);
/// How long a link can be used.
pub(in crate::control::admin) const LINK_LIFE: Duration = Duration::from_mins(1);
/// The bounds of sessions. One identity cannot end those of all others by beginning many.
const SESSIONS: PassBounds = PassBounds { all: 1_024, of_one: 64, life: SESSION_LIFE };
/// The bounds of links.
const LINKS: PassBounds = PassBounds { all: 64, of_one: 8, life: LINK_LIFE };
/// 256 bits.
const RANDOM_BYTES: usize = 32;

/// The sessions and links of all identities.
#[derive(Debug)]
pub(in crate::control::admin) struct Sessions(Mutex<PassTables>);

#[derive(Debug)]
struct PassTables {
    sessions: PassTable,
    links: PassTable,
}

/// What stands for a secret that was presented: its SHA-256.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(in crate::control::admin) struct PassKey([u8; 32]);

/// A secret of its own: only its receiver keeps it.
pub(in crate::control::admin) struct PassSecret(String);

/// Secrets that stand for identities, for some time.
#[derive(Debug)]
struct PassTable {
    bounds: PassBounds,
    passes: Vec<Pass>,
    /// How many uses there were.
    uses: u64,
}

#[derive(Clone, Copy, Debug)]
struct PassBounds {
    /// The most of all identities.
    all: usize,
    /// The most of one identity.
    of_one: usize,
    life: Duration,
}

#[derive(Debug)]
struct Pass {
    key: PassKey,
    identity: AdminIdentity,
    ends_at: Duration,
    /// The number of its last use.
    used: u64,
}

impl Sessions {
    /// Begins a session. The oldest unused one goes when there are too many.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn begin(&self, identity: AdminIdentity, now: Duration) -> Result<PassSecret, CallProblem> {
        let secret = PassSecret::random()?;
        self.lock().sessions.add(secret.key(), identity, now);
        Ok(secret)
    }

    /// The session with this key, unless it has ended.
    pub fn find(&self, key: PassKey, now: Duration) -> Option<LiveSession> {
        let mut tables = self.lock();
        let pass = tables.sessions.used(key, now)?;
        Some(LiveSession { identity: pass.identity.clone(), ends_at: pass.ends_at })
    }

    /// Ends a session, and returns whether there was one.
    pub fn end(&self, key: PassKey, now: Duration) -> bool {
        self.lock().sessions.take(key, now).is_some()
    }

    /// Makes a link for one use.
    ///
    /// # Errors
    /// The system gives no random numbers.
    pub fn link(&self, identity: AdminIdentity, now: Duration) -> Result<PassSecret, CallProblem> {
        let secret = PassSecret::random()?;
        self.lock().links.add(secret.key(), identity, now);
        Ok(secret)
    }

    /// Uses a link: the identity for which it was made.
    pub fn redeem(&self, key: PassKey, now: Duration) -> Option<AdminIdentity> {
        self.lock().links.take(key, now)
    }

    fn lock(&self) -> MutexGuard<'_, PassTables> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for Sessions {
    fn default() -> Self {
        Self(Mutex::new(PassTables { sessions: PassTable::new(SESSIONS), links: PassTable::new(LINKS) }))
    }
}

impl PassTable {
    const fn new(bounds: PassBounds) -> Self {
        Self { bounds, passes: Vec::new(), uses: 0 }
    }

    fn add(&mut self, key: PassKey, identity: AdminIdentity, now: Duration) {
        self.passes.retain(|pass| now < pass.ends_at);
        if self.passes.iter().filter(|pass| pass.identity == identity).count() >= self.bounds.of_one {
            self.remove_oldest(|pass| pass.identity == identity);
        }
        if self.passes.len() >= self.bounds.all {
            self.remove_oldest(|_| true);
        }
        self.uses += 1;
        self.passes.push(Pass { key, identity, ends_at: now + self.bounds.life, used: self.uses });
        debug_assert!(self.passes.len() <= self.bounds.all, "the table has a bound");
    }

    /// Removes that of these which was not used for the longest time.
    fn remove_oldest(&mut self, is_candidate: impl Fn(&Pass) -> bool) {
        let candidates = self.passes.iter().enumerate().filter(|(_, pass)| is_candidate(pass));
        if let Some((at, _)) = candidates.min_by_key(|(_, pass)| pass.used) {
            self.passes.remove(at);
        }
    }

    /// The pass with this key, which is used now.
    fn used(&mut self, key: PassKey, now: Duration) -> Option<&Pass> {
        let at = self.position(key, now)?;
        self.uses += 1;
        let pass = self.passes.get_mut(at)?;
        pass.used = self.uses;
        Some(pass)
    }

    /// Removes the pass with this key; its identity, unless it has ended.
    fn take(&mut self, key: PassKey, now: Duration) -> Option<AdminIdentity> {
        let at = self.position(key, now)?;
        Some(self.passes.remove(at).identity)
    }

    /// Every pass is compared, each in constant time.
    fn position(&self, key: PassKey, now: Duration) -> Option<usize> {
        let mut found = None;
        for (at, pass) in self.passes.iter().enumerate() {
            if verify_slices_are_equal(&pass.key.0, &key.0).is_ok() {
                found = Some((at, pass.ends_at));
            }
        }
        found.filter(|(_, ends_at)| now < *ends_at).map(|(at, _)| at)
    }
}

impl PassKey {
    /// The key of a secret that was presented.
    pub fn of(secret: &[u8]) -> Self {
        Self(sha256(secret))
    }
}

impl PassSecret {
    fn random() -> Result<Self, CallProblem> {
        let mut random = [0; RANDOM_BYTES];
        SystemRandom::new().fill(&mut random).map_err(|_| {
            ProblemKind::Failed.because("the system gives no random numbers", "try again, or use a token")
        })?;
        let mut secret = String::with_capacity(2 * RANDOM_BYTES);
        for byte in random {
            // Writing to a string cannot fail.
            let _ = write!(secret, "{byte:02x}");
        }
        Ok(Self(secret))
    }

    /// Whether a value could be a secret of this kind.
    pub fn has_form(value: &[u8]) -> bool {
        value.len() == 2 * RANDOM_BYTES && value.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
    }

    /// Its key.
    pub fn key(&self) -> PassKey {
        PassKey::of(self.0.as_bytes())
    }

    /// The secret itself.
    pub fn reveal(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for PassKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PassKey")
    }
}

impl std::fmt::Debug for PassSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("PassSecret")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::admin::access::client::SocketPeer;

    const NOW: Duration = Duration::from_secs(1_000_000);
    const MOMENT: Duration = Duration::from_nanos(1);

    /// The last moment of a life that begins now.
    fn last_of(life: Duration) -> Duration {
        (NOW + life).saturating_sub(MOMENT)
    }

    fn user(uid: usize) -> AdminIdentity {
        AdminIdentity::User(SocketPeer { uid: u32::try_from(uid).expect("small"), user: format!("u{uid}") })
    }

    fn begin(sessions: &Sessions, uid: usize) -> PassKey {
        sessions.begin(user(uid), NOW).expect("random numbers").key()
    }

    #[test]
    fn a_session_is_found_by_its_secret_until_it_ends() {
        let sessions = Sessions::default();
        let secret = sessions.begin(user(1), NOW).expect("random numbers");
        let key = PassKey::of(secret.reveal().as_bytes());
        let end = NOW + SESSION_LIFE;
        assert_eq!(sessions.find(key, NOW), Some(LiveSession { identity: user(1), ends_at: end }));
        assert!(sessions.find(key, last_of(SESSION_LIFE)).is_some(), "a use does not prolong it, and does not end it");
        assert_eq!(sessions.find(key, end), None);
        assert_eq!(sessions.find(PassKey::of(b""), NOW), None);
        assert_eq!(sessions.redeem(key, NOW), None, "it is no link");
        assert!(sessions.end(key, NOW) && !sessions.end(key, NOW));
        assert_eq!(sessions.find(key, NOW), None);
    }

    #[test]
    fn a_secret_has_256_bits_and_is_not_shown() {
        let sessions = Sessions::default();
        let [one, other] = [1, 1].map(|uid| sessions.begin(user(uid), NOW).expect("random numbers"));
        assert_eq!(one.reveal().len(), 64);
        assert!(PassSecret::has_form(one.reveal().as_bytes()) && one.reveal() != other.reveal());
        let shown = format!("{sessions:?} {one:?} {:?}", one.key());
        assert!(!shown.contains(one.reveal()), "{shown}");
    }

    #[test]
    fn a_link_is_for_one_use_within_a_minute() {
        let sessions = Sessions::default();
        let link = |uid| sessions.link(user(uid), NOW).expect("random numbers").key();
        let key = link(1);
        assert_eq!(sessions.find(key, NOW), None, "it is no session");
        assert_eq!(sessions.redeem(key, last_of(LINK_LIFE)), Some(user(1)));
        assert_eq!(sessions.redeem(key, NOW), None, "the second use");
        let late = link(1);
        assert_eq!(sessions.redeem(late, NOW + LINK_LIFE), None);
    }

    #[test]
    fn the_oldest_unused_session_goes_when_there_are_too_many() {
        let sessions = Sessions::default();
        let keys: Vec<PassKey> = (0..1_024).map(|n| begin(&sessions, n)).collect();
        assert!(sessions.find(keys[0], NOW).is_some(), "it is used");
        let last = begin(&sessions, 9_999);
        assert!(sessions.find(keys[0], NOW).is_some() && sessions.find(last, NOW).is_some());
        assert_eq!(sessions.find(keys[1], NOW), None, "the 1 025th one took its place");
        assert!(keys[2..].iter().all(|key| sessions.find(*key, NOW).is_some()));
        assert_eq!(sessions.lock().sessions.passes.len(), 1_024);
    }

    #[test]
    fn ended_sessions_go_first() {
        let sessions = Sessions::default();
        let young = sessions.begin(user(7), NOW + MOMENT).expect("random numbers").key();
        for n in 0..1_023 {
            begin(&sessions, n);
        }
        sessions.begin(user(8), NOW + SESSION_LIFE).expect("random numbers");
        assert!(sessions.find(young, NOW + SESSION_LIFE).is_some());
        assert_eq!(sessions.lock().sessions.passes.len(), 2);
    }

    #[test]
    fn one_identity_ends_only_its_own_sessions() {
        let sessions = Sessions::default();
        let other = begin(&sessions, 1);
        let own: Vec<PassKey> = (0..2_000).map(|_| begin(&sessions, 2)).collect();
        assert!(sessions.find(other, NOW).is_some());
        let left = own.iter().filter(|key| sessions.find(**key, NOW).is_some()).count();
        assert_eq!((left, sessions.find(own[1_999], NOW).is_some()), (64, true));
    }

    #[test]
    fn links_are_bounded() {
        let sessions = Sessions::default();
        let keys: Vec<PassKey> =
            (0..65).map(|uid| sessions.link(user(uid), NOW).expect("random numbers").key()).collect();
        assert_eq!(sessions.redeem(keys[0], NOW), None);
        assert!(keys[1..].iter().all(|key| sessions.redeem(*key, NOW).is_some()));
        let of_one: Vec<PassKey> = (0..9).map(|_| sessions.link(user(1), NOW).expect("random numbers").key()).collect();
        let good: Vec<bool> = of_one.iter().map(|key| sessions.redeem(*key, NOW).is_some()).collect();
        assert_eq!(good, [false, true, true, true, true, true, true, true, true]);
    }
}
