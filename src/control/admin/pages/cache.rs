//! Pages that were built a moment ago: many viewers of a page, who all look again after an event, cost one build.

use std::collections::HashMap;
use std::hash::{BuildHasher, Hash};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use axum::body::{Body, Bytes};
use axum::response::Response;
use http::{HeaderMap, HeaderValue, StatusCode, header};
use tokio::sync::Semaphore;

use crate::control::admin::page::on_blocking_thread;
use crate::control::dashboard::Viewer;

/// So long a page counts as new, when no record of the journal came since.
const FRESH_FOR: Duration = Duration::from_secs(1);
/// The most pages that are kept.
const PAGES_MAX: usize = 64;

/// Pages that are built at once; others wait.
const BUILDS_MAX: usize = 4;

/// The pages that were built a moment ago.
#[derive(Clone, Debug)]
pub(in crate::control::admin) struct PageCache {
    pages: Arc<Mutex<HashMap<PageKey, Arc<PageSlot>>>>,
    builds: Arc<Semaphore>,
}

/// What a page depends on but the state of the proxy.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct PageKey {
    /// The path and the query.
    pub target: String,
    pub viewer: Viewer,
}

/// The moment for which a page is asked.
#[derive(Clone, Copy, Debug)]
pub(super) struct AskedMoment {
    pub now: Instant,
    /// The newest record of the journal.
    pub seq: u64,
}

/// A page that was built.
#[derive(Clone, Debug)]
pub(super) struct BuiltPage {
    pub status: StatusCode,
    pub media: &'static str,
    /// Its hash (RFC 9110): the same for the same content.
    pub etag: HeaderValue,
    pub body: Bytes,
}

type PageSlot = tokio::sync::Mutex<Option<KeptPage>>;

#[derive(Clone, Debug)]
struct KeptPage {
    asked: AskedMoment,
    page: BuiltPage,
}

impl Default for PageCache {
    fn default() -> Self {
        Self { pages: Arc::default(), builds: Arc::new(Semaphore::new(BUILDS_MAX)) }
    }
}

impl PageCache {
    /// Builds on a thread that may block, a few at once. `None`: the runtime ends.
    pub(super) async fn build<T: Send + 'static>(&self, work: impl FnOnce() -> T + Send + 'static) -> Option<T> {
        let permit = Arc::clone(&self.builds).acquire_owned().await.ok()?;
        let work = move || {
            // A build runs to its end, also when its client has gone.
            let _permit = permit;
            work()
        };
        on_blocking_thread(work).await
    }

    /// The page that was built a moment ago, or a new one. `None`: the runtime ends.
    pub(super) async fn get(
        &self,
        key: PageKey,
        asked: AskedMoment,
        build: impl Future<Output = Option<BuiltPage>>,
    ) -> Option<BuiltPage> {
        let slot = self.slot(key, asked);
        // One builds, the others wait for it.
        let mut kept = slot.lock().await;
        if let Some(kept) = kept.as_ref().filter(|kept| kept.is_fresh(asked)) {
            return Some(kept.page.clone());
        }
        let page = build.await?;
        // An error is not kept: the next viewer gets another try.
        *kept = Some(KeptPage { asked, page: page.clone() }).filter(|kept| kept.page.status.is_success());
        Some(page)
    }

    fn slot(&self, key: PageKey, asked: AskedMoment) -> Arc<PageSlot> {
        let mut pages = self.pages.lock().unwrap_or_else(PoisonError::into_inner);
        // What is old is of no use any more. A slot that is in use stays.
        pages.retain(|_, slot| Arc::strong_count(slot) > 1 || is_fresh(slot, asked));
        if pages.len() >= PAGES_MAX && !pages.contains_key(&key) {
            pages.clear();
        }
        debug_assert!(pages.len() < PAGES_MAX || pages.contains_key(&key), "the cache has a bound");
        Arc::clone(pages.entry(key).or_default())
    }
}

fn is_fresh(slot: &PageSlot, asked: AskedMoment) -> bool {
    slot.try_lock().is_ok_and(|kept| kept.as_ref().is_some_and(|kept| kept.is_fresh(asked)))
}

impl KeptPage {
    fn is_fresh(&self, asked: AskedMoment) -> bool {
        self.asked.seq == asked.seq && asked.now.saturating_duration_since(self.asked.now) < FRESH_FOR
    }
}

impl BuiltPage {
    /// An HTML page. `now`: the moment in it, which does not make another page.
    pub fn html(status: StatusCode, page: String, now: &str) -> Self {
        let etag = if now.is_empty() { etag_of(&page) } else { etag_of(&page.replace(now, "")) };
        Self { status, media: "text/html; charset=utf-8", etag, body: page.into() }
    }

    /// The response, without a body when the client has the page.
    pub fn respond(self, headers: &HeaderMap) -> Response {
        let is_known = self.status.is_success() && has_etag(headers, &self.etag);
        let (status, body) = if is_known { (StatusCode::NOT_MODIFIED, Bytes::new()) } else { (self.status, self.body) };
        let mut response = Response::new(Body::from(body));
        *response.status_mut() = status;
        let fields = response.headers_mut();
        fields.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.media));
        fields.insert(header::ETAG, self.etag);
        // A page is asked for again at each use; `no-store` is for the answers of the API.
        fields.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        fields.insert(header::VARY, HeaderValue::from_static("accept, cookie, authorization"));
        response
    }
}

/// The hash of a text as an entity tag.
pub(super) fn etag_of(text: &str) -> HeaderValue {
    let hash = xxhash_rust::xxh3::Xxh3DefaultBuilder::new().hash_one(text);
    // Hexadecimal digits in quotes are a valid value.
    HeaderValue::from_str(&format!("\"{hash:016x}\"")).unwrap_or_else(|_| HeaderValue::from_static("\"\""))
}

/// Whether `If-None-Match` names the entity tag, by weak comparison.
fn has_etag(headers: &HeaderMap, etag: &HeaderValue) -> bool {
    let named = headers.get_all(header::IF_NONE_MATCH).iter().filter_map(|value| value.to_str().ok());
    named
        .flat_map(|value| value.split(','))
        .any(|one| one.trim().trim_start_matches("W/").as_bytes() == etag.as_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::Clock;

    fn key(target: &str) -> PageKey {
        PageKey { target: target.to_owned(), viewer: Viewer::default() }
    }

    fn page(text: &str) -> BuiltPage {
        BuiltPage::html(StatusCode::OK, text.to_owned(), "")
    }

    async fn ask(cache: &PageCache, target: &str, asked: AskedMoment, text: &str) -> String {
        let built = cache.get(key(target), asked, async { Some(page(text)) }).await.expect("a page");
        String::from_utf8(built.body.to_vec()).expect("a text")
    }

    #[tokio::test]
    async fn a_page_is_built_once_for_those_who_look_at_once() {
        let (cache, begin) = (PageCache::default(), Clock.now());
        let at = |ms, seq| AskedMoment { now: begin + Duration::from_millis(ms), seq };
        assert_eq!(ask(&cache, "/", at(0, 1), "first").await, "first");
        assert_eq!(ask(&cache, "/", at(999, 1), "second").await, "first", "it is new enough");
        assert_eq!(ask(&cache, "/", at(999, 2), "third").await, "third", "a record came");
        assert_eq!(ask(&cache, "/", at(1_999, 2), "fourth").await, "fourth", "a second has passed");
        assert_eq!(ask(&cache, "/routes", at(1_999, 2), "other").await, "other");
        let mut viewer = key("/");
        viewer.viewer.may_operate = true;
        let own = cache.get(viewer, at(1_999, 2), async { Some(page("own")) }).await.expect("a page");
        assert_eq!(own.body, "own", "a page shows the buttons of its viewer");
    }

    #[tokio::test]
    async fn errors_are_not_kept_and_the_cache_has_a_bound() {
        let (cache, now) = (PageCache::default(), Clock.now());
        let asked = AskedMoment { now, seq: 1 };
        let failed = BuiltPage::html(StatusCode::NOT_FOUND, "none".to_owned(), "");
        assert_eq!(cache.get(key("/x"), asked, async { Some(failed) }).await.expect("a page").body, "none");
        assert_eq!(ask(&cache, "/x", asked, "there").await, "there");
        for at in 0..3 * PAGES_MAX {
            ask(&cache, &format!("/{at}"), asked, "page").await;
        }
        assert!(cache.pages.lock().expect("no panic").len() <= PAGES_MAX);
    }

    #[test]
    fn a_page_that_the_client_has_is_not_sent_again() {
        let (first, second) = ("<p>10:00</p>text", "<p>10:01</p>text");
        let built = |text: &str, now| BuiltPage::html(StatusCode::OK, text.to_owned(), now);
        assert_eq!(built(first, "10:00").etag, built(second, "10:01").etag, "the moment does not make another page");
        let etag = built(first, "10:00").etag;
        let mut headers = HeaderMap::new();
        assert_eq!(built(first, "10:00").respond(&headers).status(), StatusCode::OK);
        let known = format!("\"other\", W/{}", etag.to_str().expect("a text"));
        headers.insert(header::IF_NONE_MATCH, known.parse().expect("a value"));
        assert_eq!(built(second, "10:01").respond(&headers).status(), StatusCode::NOT_MODIFIED);
        assert_eq!(built("other", "").respond(&headers).status(), StatusCode::OK);
    }
}
