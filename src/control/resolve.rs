//! Names to addresses: resolved by their time to live, in the background, keeping the last good answer.
//!
//! A name that has both kinds of addresses gives its IPv4 ones: the same server under two addresses would count twice,
//! and one of the two kinds is often not routed.

use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::net::IpAddr;
use std::path::Path;
use std::pin::Pin;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use hickory_resolver::TokioResolver;
use hickory_resolver::config::LookupIpStrategy;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

use super::controller::Event;
use crate::clock::Clock;

/// An answer is never used for less.
const TTL_MIN: Duration = Duration::from_secs(1);
/// An answer is never used for longer.
const TTL_MAX: Duration = Duration::from_mins(5);
/// After a failure it is tried again after this, doubling.
const RETRY_MIN: Duration = Duration::from_secs(1);
/// And at most after this.
const RETRY_MAX: Duration = Duration::from_secs(30);
/// A lookup that takes longer has failed.
const LOOKUP_TIMEOUT: Duration = Duration::from_secs(10);

/// The addresses of a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// Sorted, without duplicates, never empty.
    pub addresses: Vec<IpAddr>,
    /// How long it may be used.
    pub ttl: Duration,
}

/// What a lookup came to; an error is for people.
pub type Answered = Result<Answer, String>;

/// Resolves names.
pub trait Resolve: Send + Sync {
    /// Looks a name up.
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = Answered> + Send>>;
}

impl Answer {
    /// An answer with its addresses in order, so that equal answers are equal.
    ///
    /// # Errors
    /// When there is no address.
    pub fn new(addresses: impl IntoIterator<Item = IpAddr>, ttl: Duration) -> Answered {
        let sorted: BTreeSet<IpAddr> = addresses.into_iter().collect();
        if sorted.is_empty() {
            return Err("the name has no address".to_owned());
        }
        Ok(Self { addresses: sorted.into_iter().collect(), ttl: ttl.clamp(TTL_MIN, TTL_MAX) })
    }
}

/// Resolves as the system is configured: `/etc/resolv.conf` and `/etc/hosts`, read anew when they change.
#[derive(Default)]
pub struct SystemResolver {
    current: Mutex<Option<(Configured, TokioResolver)>>,
}

/// When the system's files were last changed.
type Configured = [Option<SystemTime>; 2];

impl SystemResolver {
    fn current(&self) -> Result<TokioResolver, String> {
        let configured = ["/etc/resolv.conf", "/etc/hosts"]
            .map(|path| std::fs::metadata(Path::new(path)).and_then(|metadata| metadata.modified()).ok());
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
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = Answered> + Send>> {
        let (resolver, name) = (self.current(), name.to_owned());
        Box::pin(async move {
            let found = resolver?.lookup_ip(name).await.map_err(|error| error.to_string())?;
            Answer::new(found.iter(), found.valid_until().saturating_duration_since(Clock.now()))
        })
    }
}

/// Looks up all of `names` at once, waiting at most `patience`: those that have not answered then are missing.
pub async fn first_answers(
    resolver: &Arc<dyn Resolve>,
    names: impl IntoIterator<Item = String>,
    patience: Duration,
) -> BTreeMap<String, Answered> {
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
pub struct Names {
    resolver: Arc<dyn Resolve>,
    events: mpsc::Sender<Event>,
    tasks: BTreeMap<String, JoinHandle<()>>,
}

impl Names {
    /// Nothing to look after yet.
    #[must_use]
    pub fn new(resolver: Arc<dyn Resolve>, events: mpsc::Sender<Event>) -> Self {
        Self { resolver, events, tasks: BTreeMap::new() }
    }

    /// Looks after these names and no others. `answers` are the first answers of names that are new.
    pub fn keep(&mut self, wanted: &BTreeSet<String>, answers: &BTreeMap<String, Answered>) {
        self.tasks.retain(|name, task| {
            let keep = wanted.contains(name);
            if !keep {
                task.abort();
            }
            keep
        });
        for name in wanted {
            if !self.tasks.contains_key(name) {
                let wait = match answers.get(name) {
                    Some(Ok(answer)) => answer.ttl,
                    Some(Err(_)) => RETRY_MIN,
                    None => Duration::ZERO,
                };
                let looking = look_after(name.clone(), wait, Arc::clone(&self.resolver), self.events.clone());
                self.tasks.insert(name.clone(), tokio::spawn(looking));
            }
        }
    }
}

impl Drop for Names {
    fn drop(&mut self) {
        self.tasks.values().for_each(JoinHandle::abort);
    }
}

async fn look_after(name: String, first: Duration, resolver: Arc<dyn Resolve>, events: mpsc::Sender<Event>) {
    let (mut wait, mut retry) = (first, RETRY_MIN);
    loop {
        tokio::time::sleep(wait).await;
        let answered = tokio::time::timeout(LOOKUP_TIMEOUT, resolver.resolve(&name))
            .await
            .unwrap_or_else(|_| Err(format!("no answer within {} s", LOOKUP_TIMEOUT.as_secs())));
        if let Ok(answer) = &answered {
            (wait, retry) = (answer.ttl, RETRY_MIN);
        } else {
            (wait, retry) = (retry, (retry * 2).min(RETRY_MAX));
        }
        if events.send(Event::Resolved(name.clone(), answered)).await.is_err() {
            return;
        }
    }
}
