//! Names of endpoints: when they are looked up, which addresses are kept, and which names the start waits for.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, TcpListener};
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, SystemTime};

use pointsman::app::Resolve;
use pointsman::clock::Clock;
use pointsman::control::{DnsAnswer, LookupResult};

use crate::harness::proxy::Setup;
use crate::harness::{ONE_ROUTE, Proxy, Raw, RefusingAddress, Upstream, until};
use crate::upstream_tls::{Authority, Close, Front, config, files};

const ONE: Ipv4Addr = Ipv4Addr::LOCALHOST;
const TWO: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A resolver with the answers of the test, each valid for ten minutes.
#[derive(Clone, Default)]
struct Book(Arc<Shared>);

#[derive(Default)]
struct Shared {
    names: Mutex<BTreeMap<String, Vec<IpAddr>>>,
    changed: Mutex<Option<SystemTime>>,
    delay: Mutex<Duration>,
    lookups: AtomicU64,
}

impl Book {
    fn say(&self, name: &str, address: Ipv4Addr) {
        self.0.names.lock().unwrap().insert(name.to_owned(), vec![IpAddr::V4(address)]);
    }

    fn lookups(&self) -> u64 {
        self.0.lookups.load(SeqCst)
    }

    fn setup(&self) -> Setup {
        let resolver = Arc::new(self.clone());
        Proxy::workers(1).tuned(move |options| options.resolver = Arc::clone(&resolver) as Arc<dyn Resolve>)
    }
}

impl Resolve for Book {
    fn resolve(&self, name: &str) -> Pin<Box<dyn Future<Output = LookupResult> + Send>> {
        self.0.lookups.fetch_add(1, SeqCst);
        let known = self.0.names.lock().unwrap().get(name).cloned();
        let delay = *self.0.delay.lock().unwrap();
        Box::pin(async move {
            tokio::time::sleep(delay).await;
            DnsAnswer::new(known.ok_or("no such name")?, Duration::from_mins(10))
        })
    }

    fn changed(&self) -> [Option<SystemTime>; 2] {
        [None, *self.0.changed.lock().unwrap()]
    }
}

/// Two upstreams on one port, of which `svc.internal` has the first, behind a proxy that has been used.
struct Scene {
    book: Book,
    proxy: Proxy,
    client: Raw,
    one: Upstream,
    _two: Upstream,
}

impl Scene {
    fn start(dns: &str) -> Self {
        let first = TcpListener::bind((ONE, 0)).unwrap();
        let port = first.local_addr().unwrap().port();
        let two = Upstream::echo_on(TcpListener::bind((TWO, port)).unwrap()).named("two");
        let one = Upstream::echo_on(first).named("one");
        let book = Book::default();
        book.say("svc.internal", ONE);
        let proxy = book.setup().place("main", format!("svc.internal:{port}")).start(&format!("{dns}\n{ONE_ROUTE}"));
        let mut client = proxy.connect();
        assert_eq!(client.get("/", "").json()["name"], "one");
        Self { book, proxy, client, one, _two: two }
    }

    /// From now on the name has the other address.
    fn moves(&self) {
        self.book.say("svc.internal", TWO);
    }

    #[track_caller]
    fn uses_the_new_address(&mut self) {
        until("the new address is used", || {
            let answer = self.client.get("/", "");
            (answer.status == 200 && answer.json()["name"] == "two").then_some(())
        });
    }
}

#[test]
fn an_answer_is_used_for_max_ttl_at_most() {
    let mut scene = Scene::start("[dns]\nmax_ttl = \"1s\"");
    scene.moves();
    scene.uses_the_new_address();
}

#[test]
fn a_name_is_looked_up_again_when_its_address_is_unreachable() {
    let (book, deaf) = (Book::default(), RefusingAddress::new());
    let port = deaf.address().port();
    let _two = Upstream::echo_on(TcpListener::bind((TWO, port)).unwrap());
    book.say("svc.internal", ONE);
    let proxy = book.setup().place("main", format!("svc.internal:{port}")).start(ONE_ROUTE);
    let mut client = proxy.connect();
    let (began, lookups) = (Clock.now(), book.lookups());
    until("requests have failed for two seconds", || {
        assert_eq!(client.get("/", "").status, 502);
        (Clock.now().duration_since(began) > Duration::from_secs(2)).then_some(())
    });
    book.say("svc.internal", TWO);
    until("the new address is used", || (client.get("/", "").status == 200).then_some(()));
    let (took, lookups) = (Clock.now().duration_since(began), book.lookups() - lookups);
    assert!(lookups >= 2 && lookups <= took.as_secs() + 2, "{lookups} lookups in {took:?}: at most one a second");
}

#[test]
fn names_are_looked_up_at_each_reload() {
    let mut scene = Scene::start("");
    scene.moves();
    assert_eq!(scene.proxy.app().reload().name(), "unchanged");
    scene.uses_the_new_address();
}

#[test]
fn names_are_looked_up_when_the_hosts_file_changes() {
    let mut scene = Scene::start("");
    scene.moves();
    *scene.book.0.changed.lock().unwrap() = Some(SystemTime::UNIX_EPOCH);
    scene.uses_the_new_address();
}

#[test]
fn a_new_name_of_a_reload_may_resolve_later() {
    let mut scene = Scene::start("");
    let port = scene.one.address().port();
    scene.book.say("late.internal", TWO);
    // Longer than a reload waits.
    *scene.book.0.delay.lock().unwrap() = Duration::from_secs(3);
    scene.proxy.rewrite(&ONE_ROUTE.replace("{main}", &format!("late.internal:{port}")));
    scene.uses_the_new_address();
}

/// The status and the text of `/readyz`.
fn ready(proxy: &Proxy) -> (u16, String) {
    let head = format!("GET /readyz HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", proxy.admin());
    let answer = Raw::connect(proxy.admin()).send(head).read_response();
    (answer.status, answer.text())
}

#[test]
fn a_name_with_a_trailing_dot_is_looked_up_unchanged() {
    let (book, echo) = (Book::default(), Upstream::echo());
    book.say("web.svc.internal.", ONE);
    let port = echo.address().port();
    let proxy = book.setup().place("main", format!("web.svc.internal.:{port}")).start(ONE_ROUTE);
    assert_eq!(proxy.connect().get("/", "").status, 200);

    // The certificate has no dot.
    let authority = Authority::new();
    let front = config(&authority.issue("web.svc.internal"), None);
    let front = Front::with(&front, (b"http/1.1", echo.address(), Close::Notified));
    let dir = files(&[("ca.pem", &authority.pem)]);
    let text = ONE_ROUTE.replace("http://", "https://");
    let text = format!("{text}\n[upstream.main.tls]\nca = \"{}/ca.pem\"\n", dir.path().display());
    let proxy = book.setup().place("main", format!("web.svc.internal.:{}", front.address.port())).start(&text);
    let answer = proxy.connect().get("/", "");
    assert_eq!(answer.status, 200, "{:?}", answer.field("proxy-status"));
}

#[test]
fn one_unresolved_name_delays_readiness_by_start_patience_at_most() {
    let (book, alive) = (Book::default(), Upstream::echo());
    let text = |patience: &str| {
        format!(
            "[dns]\nstart_patience = \"{patience}\"\n[upstream.dead]\nendpoints = [\"http://dead.internal\"]\n\
             [upstream.alive]\nendpoints = [\"http://{{alive}}\"]\n[[route]]\nname = \"a\"\nmatch = {{ path = \"/a/*\" }}\n\
             stable = \"dead\"\n[[route]]\nname = \"b\"\nmatch = {{ path = \"/b/*\" }}\nstable = \"alive\"\n"
        )
    };
    let proxy = book.setup().with("alive", &alive).start(&text("1s"));
    assert_eq!(proxy.connect().get("/b/", "").status, 200, "what has an address is served");
    until("it is ready", || (ready(&proxy).0 == 200).then_some(()));
    assert_eq!(proxy.connect().get("/a/", "").status, 503);

    let proxy = book.setup().with("alive", &alive).start(&text("10m"));
    assert_eq!(ready(&proxy), (503, "the name dead.internal has no address yet\n".to_owned()));
    assert_eq!(proxy.connect().get("/b/", "").status, 200);
    book.say("dead.internal", ONE);
    until("it is ready as soon as all names have addresses", || (ready(&proxy).0 == 200).then_some(()));
}

#[test]
fn without_any_address_the_proxy_does_not_become_ready() {
    let book = Book::default();
    let proxy =
        book.setup().place("main", "dead.internal").start(&format!("[dns]\nstart_patience = \"0s\"\n{ONE_ROUTE}"));
    assert_eq!(ready(&proxy), (503, "no route has an upstream with an address\n".to_owned()));
    book.say("dead.internal", ONE);
    until("it is ready", || (ready(&proxy).0 == 200).then_some(()));
    assert_eq!(proxy.status()["ready"], true);
}
