//! Resolves names to addresses in the background, when their TTL ends; keeps the last addresses when a lookup fails. A
//! name is looked up at once when one of its addresses is unreachable, after each reload, and when `/etc/hosts` or
//! `/etc/resolv.conf` changes; but at most once a second.
//!
//! A name with IPv4 and IPv6 addresses gives its IPv4 ones: one server with two addresses would count twice, and one
//! address family is often not routed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use tokio::sync::{Notify, Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

use super::name_state::{DnsAnswer, LookupResult, TTL_MIN};
use crate::clock::Clock;
use crate::control::event::{Event, ResolverEvent};

/// The first delay after a failure; doubles up to `max_ttl`.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// How often the system's resolver files are checked for changes.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// Time limit of a lookup.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// How many lookups begin at once; more wait.
const AT_ONCE_MAX: usize = 64;
/// How long a lookup keeps others away, so that names without an answer delay no others.
const PLACE_KEPT: Duration = Duration::from_millis(250);

/// Resolves names.
pub trait Resolve: Send + Sync {
    /// Looks a name up.
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = LookupResult> + Send>>;

    /// When the files that the results depend on were last changed: all names are looked up again when this differs.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [None, None]
    }
}

/// Resolves with `/etc/resolv.conf` and `/etc/hosts`, and reads them again when they change.
#[derive(Default)]
pub struct SystemResolver {
    current: Mutex<Option<(Configured, TokioResolver)>>,
}

/// The modification times of the system's resolver files.
type Configured = [Option<SystemTime>; 2];

fn configured() -> Configured {
    ["/etc/resolv.conf", "/etc/hosts"]
        .map(|path| std::fs::metadata(Path::new(path)).and_then(|metadata| metadata.modified()).ok())
}

impl SystemResolver {
    fn current(&self) -> Result<TokioResolver, String> {
        let configured = configured();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((then, resolver)) = &*current
            && *then == configured
        {
            return Ok(resolver.clone());
        }
        let mut builder = TokioResolver::builder_tokio().map_err(|error| error.to_string())?;
        let options = builder.options_mut();
        options.ip_strategy = LookupIpStrategy::Ipv4thenIpv6;
        // Names are looked up when their TTL ends; a cache would only make answers older.
        options.cache_size = 0;
        let resolver = builder.build().map_err(|error| error.to_string())?;
        *current = Some((configured, resolver.clone()));
        Ok(resolver)
    }
}

impl Resolve for SystemResolver {
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = LookupResult> + Send>> {
        let (resolver, name) = (self.current(), name.to_owned());
        Box::pin(async move {
            let found = resolver?.lookup_ip(name).await.map_err(|error| error.to_string())?;
            DnsAnswer::new(found.iter(), found.valid_until().saturating_duration_since(Clock.now()))
        })
    }

    fn changed(&self) -> Configured {
        configured()
    }
}

/// A resolver that begins a bounded number of lookups at once.
#[derive(Clone)]
struct PacedResolver {
    resolver: Arc<dyn Resolve>,
    places: Arc<Semaphore>,
}

impl PacedResolver {
    fn new(resolver: Arc<dyn Resolve>) -> Self {
        Self { resolver, places: Arc::new(Semaphore::new(AT_ONCE_MAX)) }
    }

    /// Looks a name up as soon as there is a place for it, for at most [`LOOKUP_TIMEOUT`].
    async fn look_up(&self, name: &str) -> LookupResult {
        // The semaphore is never closed.
        let place = self.places.acquire().await;
        let lookup = async {
            let mut lookup = self.resolver.resolve(name);
            if let Ok(answered) = tokio::time::timeout(PLACE_KEPT, &mut lookup).await {
                return answered;
            }
            drop(place);
            lookup.await
        };
        let answered = tokio::time::timeout(LOOKUP_TIMEOUT, lookup).await;
        answered.unwrap_or_else(|_| Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())))
    }
}

/// Looks up all `names` concurrently, for at most `timeout`. Names without a result by then are missing.
pub async fn first_answers(
    resolver: &Arc<dyn Resolve>,
    names: impl IntoIterator<Item = String>,
    timeout: Duration,
) -> BTreeMap<String, LookupResult> {
    let mut lookups = tokio::task::JoinSet::new();
    let paced = PacedResolver::new(Arc::clone(resolver));
    for name in names {
        let paced = paced.clone();
        lookups.spawn(async move {
            let answered = paced.look_up(&name).await;
            (name, answered)
        });
    }
    let mut answers = BTreeMap::new();
    let all = async {
        while let Some(joined) = lookups.join_next().await {
            if let Ok((name, answered)) = joined {
                answers.insert(name, answered);
            }
        }
    };
    // Late names are looked up again in the background.
    let _ = tokio::time::timeout(timeout, all).await;
    answers
}

/// The names that are kept resolved, each by its own task.
pub struct WatchedNames {
    resolver: PacedResolver,
    events: mpsc::Sender<Event>,
    tasks: BTreeMap<String, NameTask>,
    max_ttl: watch::Sender<Duration>,
    has_names: watch::Sender<bool>,
    watcher: JoinHandle<()>,
}

/// The task of one name.
struct NameTask {
    task: JoinHandle<()>,
    now: Arc<Notify>,
}

impl WatchedNames {
    /// Starts without names.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>, events: mpsc::Sender<Event>) -> Self {
        let has_names = watch::Sender::new(false);
        let watcher = tokio::spawn(watch_files(Arc::clone(&resolver), has_names.subscribe(), events.clone()));
        Self {
            resolver: PacedResolver::new(resolver),
            events,
            tasks: BTreeMap::new(),
            max_ttl: watch::Sender::default(),
            has_names,
            watcher,
        }
    }

    /// Keeps exactly these names resolved, each looked up at most `max_ttl` after the last time. `answers` are the
    /// first results of new names.
    pub fn follow(&mut self, wanted: &BTreeSet<String>, answers: &BTreeMap<String, LookupResult>, max_ttl: Duration) {
        self.max_ttl.send_replace(max_ttl);
        self.has_names.send_if_modified(|has| {
            let had = std::mem::replace(has, !wanted.is_empty());
            had != *has
        });
        self.tasks.retain(|name, kept| {
            let keep = wanted.contains(name);
            if !keep {
                kept.task.abort();
            }
            keep
        });
        for name in wanted {
            if !self.tasks.contains_key(name) {
                let wait = match answers.get(name) {
                    Some(Ok(answer)) => answer.ttl.min(max_ttl),
                    Some(Err(_)) => RETRY_MIN,
                    None => Duration::ZERO,
                };
                let now = Arc::new(Notify::new());
                let refresh = RefreshTask {
                    name: name.clone(),
                    now: Arc::clone(&now),
                    max_ttl: self.max_ttl.subscribe(),
                    resolver: self.resolver.clone(),
                    events: self.events.clone(),
                };
                self.tasks.insert(name.clone(), NameTask { task: tokio::spawn(refresh.run(wait)), now });
            }
        }
    }

    /// Looks a name up now, or one second after the last time.
    pub fn look_up(&self, name: &str) {
        if let Some(kept) = self.tasks.get(name) {
            kept.now.notify_one();
        }
    }

    /// Looks all names up, in the same way.
    pub fn look_up_all(&self) {
        self.tasks.values().for_each(|kept| kept.now.notify_one());
    }
}

impl Drop for WatchedNames {
    fn drop(&mut self) {
        self.tasks.values().for_each(|kept| kept.task.abort());
        self.watcher.abort();
    }
}

/// Looks one name up again and again.
struct RefreshTask {
    name: String,
    now: Arc<Notify>,
    max_ttl: watch::Receiver<Duration>,
    resolver: PacedResolver,
    events: mpsc::Sender<Event>,
}

impl RefreshTask {
    async fn run(self, first: Duration) {
        let (mut wait, mut retry) = (first, RETRY_MIN);
        loop {
            let least = wait.min(TTL_MIN);
            tokio::time::sleep(least).await;
            // Wait for the TTL or for a request.
            let _ = tokio::time::timeout(wait.saturating_sub(least), self.now.notified()).await;
            let answered = self.resolver.look_up(&self.name).await;
            let max_ttl = *self.max_ttl.borrow();
            if let Ok(answer) = &answered {
                (wait, retry) = (answer.ttl.min(max_ttl), RETRY_MIN);
            } else {
                (wait, retry) = (retry, (retry * 2).min(max_ttl.max(RETRY_MIN)));
            }
            if self.events.send(Event::Resolver(ResolverEvent::Resolved(self.name.clone(), answered))).await.is_err() {
                return;
            }
        }
    }
}

/// Sends an event when the resolver's files change, while there are names.
async fn watch_files(resolver: Arc<dyn Resolve>, mut has_names: watch::Receiver<bool>, events: mpsc::Sender<Event>) {
    let mut known = resolver.changed();
    loop {
        if !*has_names.borrow_and_update() {
            if has_names.changed().await.is_err() {
                return;
            }
            // The first lookups of new names read the files themselves.
            known = resolver.changed();
            continue;
        }
        tokio::time::sleep(POLL_EVERY).await;
        let now = resolver.changed();
        if now != known {
            known = now;
            if events.send(Event::Resolver(ResolverEvent::NamesChanged)).await.is_err() {
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

    use super::*;

    /// Names that begin with `dead` have no answer, others at once; the most lookups of others at one time are counted.
    #[derive(Debug, Default)]
    struct Names {
        begun: AtomicUsize,
        most: AtomicUsize,
        under_way: Arc<AtomicUsize>,
    }

    impl Resolve for Names {
        fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = LookupResult> + Send>> {
            self.begun.fetch_add(1, Relaxed);
            if name.starts_with("dead") {
                return Box::pin(std::future::pending());
            }
            let under_way = Arc::clone(&self.under_way);
            self.most.fetch_max(under_way.fetch_add(1, Relaxed) + 1, Relaxed);
            Box::pin(async move {
                tokio::time::sleep(Duration::from_millis(1)).await;
                under_way.fetch_sub(1, Relaxed);
                DnsAnswer::new([std::net::IpAddr::from([10, 0, 0, 1])], TTL_MIN)
            })
        }
    }

    #[tokio::test]
    async fn lookups_begin_in_turn_and_dead_names_do_not_delay_others() {
        let (counted, patience) = (Arc::new(Names::default()), Duration::from_mins(1));
        let resolver: Arc<dyn Resolve> = Arc::<Names>::clone(&counted);
        let all = (0..1_000).map(|at| format!("name{at}"));
        assert_eq!(first_answers(&resolver, all, patience).await.len(), 1_000);
        assert_eq!(counted.begun.load(Relaxed), 1_000);
        assert!((2..=AT_ONCE_MAX).contains(&counted.most.load(Relaxed)), "{counted:?}");
        let (paced, mut dead) = (PacedResolver::new(resolver), tokio::task::JoinSet::new());
        for _ in 0..AT_ONCE_MAX {
            let paced = paced.clone();
            dead.spawn(async move { paced.look_up("dead").await });
        }
        while counted.begun.load(Relaxed) < 1_000 + AT_ONCE_MAX {
            tokio::task::yield_now().await;
        }
        assert_eq!(paced.places.available_permits(), 0);
        assert!(paced.look_up("name").await.is_ok(), "as soon as the dead ones have had their time");
    }
}
