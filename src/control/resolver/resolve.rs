//! Names to addresses: looked up in the background when their time to live ends, keeping the last good answer. A name is
//! looked up at once when one of its addresses cannot be connected to, at each reload, and when the system's own files of
//! names change; but at most once a second.
//!
//! A name that has both kinds of addresses gives its IPv4 ones: the same server under two addresses would count twice,
//! and one of the two kinds is often not routed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::JoinHandle;

use super::name_state::{DnsAnswer, LookupResult, TTL_MIN};
use crate::clock::Clock;
use crate::control::event::{Event, ResolverEvent};

/// After a failure it is tried again after this, doubling up to `max_ttl`.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// The system's files of names are looked at this often.
const POLL_EVERY: Duration = Duration::from_secs(1);
/// A lookup that takes longer has failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// Resolves names.
pub trait Resolve: Send + Sync {
    /// Looks a name up.
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = LookupResult> + Send>>;

    /// When the files that it answers by were last changed: all names are looked up again when this differs.
    fn changed(&self) -> [Option<SystemTime>; 2] {
        [None, None]
    }
}

/// Resolves as the system is configured: `/etc/resolv.conf` and `/etc/hosts`, read anew when they change.
#[derive(Default)]
pub struct SystemResolver {
    current: Mutex<Option<(Configured, TokioResolver)>>,
}

/// When the system's files were last changed.
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
        // The schedule here asks when an answer has expired; a cache would only make it older.
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

/// Looks up all of `names` at once, waiting at most `patience`: those that have not answered then are missing.
pub async fn first_answers(
    resolver: &Arc<dyn Resolve>,
    names: impl IntoIterator<Item = String>,
    patience: Duration,
) -> BTreeMap<String, LookupResult> {
    let mut lookups = tokio::task::JoinSet::new();
    for name in names {
        let lookup = resolver.resolve(&name);
        lookups.spawn(async move { (name, lookup.await) });
    }
    let mut answers = BTreeMap::new();
    let all = async {
        while let Some(joined) = lookups.join_next().await {
            if let Ok((name, answered)) = joined {
                answers.insert(name, answered);
            }
        }
    };
    // Whoever is late is asked again in the background.
    let _ = tokio::time::timeout(patience, all).await;
    answers
}

/// The names that are looked after, each by a task of its own.
pub struct WatchedNames {
    resolver: Arc<dyn Resolve>,
    events: mpsc::Sender<Event>,
    tasks: BTreeMap<String, NameTask>,
    max_ttl: watch::Sender<Duration>,
    watcher: JoinHandle<()>,
}

/// A name that is looked after.
struct NameTask {
    task: JoinHandle<()>,
    now: Arc<Notify>,
}

impl WatchedNames {
    /// Nothing to look after yet.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>, events: mpsc::Sender<Event>) -> Self {
        let watcher = tokio::spawn(watch_files(Arc::clone(&resolver), events.clone()));
        Self { resolver, events, tasks: BTreeMap::new(), max_ttl: watch::Sender::default(), watcher }
    }

    /// Looks after these names and no others, each at most `max_ttl` after the last time. `answers` are the first answers
    /// of names that are new.
    pub fn follow(&mut self, wanted: &BTreeSet<String>, answers: &BTreeMap<String, LookupResult>, max_ttl: Duration) {
        self.max_ttl.send_replace(max_ttl);
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
                    resolver: Arc::clone(&self.resolver),
                    events: self.events.clone(),
                };
                self.tasks.insert(name.clone(), NameTask { task: tokio::spawn(refresh.run(wait)), now });
            }
        }
    }

    /// Looks a name up now, or a second after the last time.
    pub fn look_up(&self, name: &str) {
        if let Some(kept) = self.tasks.get(name) {
            kept.now.notify_one();
        }
    }

    /// The same for all names.
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

/// Looks after one name.
struct RefreshTask {
    name: String,
    now: Arc<Notify>,
    max_ttl: watch::Receiver<Duration>,
    resolver: Arc<dyn Resolve>,
    events: mpsc::Sender<Event>,
}

impl RefreshTask {
    async fn run(self, first: Duration) {
        let (mut wait, mut retry) = (first, RETRY_MIN);
        loop {
            let least = wait.min(TTL_MIN);
            tokio::time::sleep(least).await;
            // Either the time has come, or somebody asks.
            let _ = tokio::time::timeout(wait.saturating_sub(least), self.now.notified()).await;
            let answered = tokio::time::timeout(LOOKUP_TIMEOUT, self.resolver.resolve(&self.name))
                .await
                .unwrap_or_else(|_| Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())));
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

/// Says when the files change that names are answered by.
async fn watch_files(resolver: Arc<dyn Resolve>, events: mpsc::Sender<Event>) {
    let mut known = resolver.changed();
    loop {
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
