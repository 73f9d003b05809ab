//! A proxy in this process: started from the text of a file, observed through its admin listener and its log, stopped
//! when dropped.

use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::pin::Pin;
use std::sync::Arc;

use pointsman::app::{App, Options, ReloadOutcome, Resolve, Signals, Spawn, StartError, Stopped};
use pointsman::control::LookupResult;
use serde_json::Value;

use super::{PATIENCE, Raw, Upstream, ports, until};

/// One route for everything, to the upstream named `main`.
pub const ONE_ROUTE: &str = r#"
[upstream.main]
endpoints = ["http://{main}"]
[[route]]
name = "all"
match = { path = "/*" }
stable = "main"
"#;

/// A running proxy.
pub struct Proxy {
    app: Option<App>,
    setup: Setup,
    dir: tempfile::TempDir,
}

/// The settings of a proxy to start.
#[derive(Clone)]
pub struct Setup {
    places: Vec<(String, String)>,
    limits: String,
    files: Vec<(String, String)>,
    pub(super) workers: usize,
    spawn: Option<Arc<dyn Fn() -> Spawn + Send + Sync>>,
    tune: Arc<dyn Fn(&mut Options) + Send + Sync>,
}

impl Default for Setup {
    fn default() -> Self {
        Self {
            places: Vec::new(),
            limits: String::new(),
            files: Vec::new(),
            workers: 1,
            spawn: None,
            tune: Arc::new(|_| {}),
        }
    }
}

impl Setup {
    /// Replaces `{name}` in the text by the address of this upstream.
    pub fn with(self, name: &str, upstream: &Upstream) -> Self {
        self.place(name, upstream.address())
    }

    /// Replaces `{name}` in the text.
    pub fn place(mut self, name: &str, text: impl std::fmt::Display) -> Self {
        self.places.push((format!("{{{name}}}"), text.to_string()));
        self
    }

    /// With a file of this name and text next to `routes.toml`.
    pub fn file(mut self, name: &str, text: &str) -> Self {
        self.files.push((name.to_owned(), text.to_owned()));
        self
    }

    /// With this number of workers instead of one.
    pub fn workers(mut self, workers: usize) -> Self {
        self.workers = workers;
        self
    }

    /// With these lines in `[listener.limits]` of the listener that is added to a text without one.
    pub fn limits(mut self, lines: &str) -> Self {
        lines.clone_into(&mut self.limits);
        self
    }

    /// With workers that a test spawns.
    pub fn spawned(mut self, spawn: impl Fn() -> Spawn + Send + Sync + 'static) -> Self {
        self.spawn = Some(Arc::new(spawn));
        self
    }

    /// With changes to the usual options.
    pub fn tuned(mut self, tune: impl Fn(&mut Options) + Send + Sync + 'static) -> Self {
        self.tune = Arc::new(tune);
        self
    }

    /// Starts. Adds to the text what is missing: `schema`, a listener, `[admin]`, `[access_log]`.
    #[track_caller]
    pub fn start(self, toml: &str) -> Proxy {
        match self.try_start(toml) {
            Ok(proxy) => proxy,
            Err(why) => panic!("the proxy does not start:\n{why}"),
        }
    }

    /// Starts, or returns the error.
    pub fn try_start(self, toml: &str) -> Result<Proxy, String> {
        let dir = tempfile::tempdir().unwrap();
        for (name, text) in &self.files {
            std::fs::write(dir.path().join(name), text).unwrap();
        }
        let file = dir.path().join("routes.toml");
        std::fs::write(&file, self.text(toml, &dir)).unwrap();
        let options = self.options(file);
        let app = match &self.spawn {
            Some(spawn) => App::launch(options.settings(), spawn()),
            None => start(options),
        };
        let app = app.map_err(|error| error.to_string())?;
        Ok(Proxy { app: Some(app), setup: self, dir })
    }

    /// The argument of [`App::start`].
    pub fn options(&self, file: PathBuf) -> Options {
        let mut options = Options::new(file);
        options.workers = NonZeroUsize::new(self.workers);
        options.signals = Signals::Ignore;
        options.drain_deadline = PATIENCE;
        (self.tune)(&mut options);
        options
    }

    pub(super) fn text(&self, toml: &str, dir: &tempfile::TempDir) -> String {
        let mut text = String::new();
        if !toml.contains("schema =") {
            text.push_str("schema = 1\n");
        }
        if !toml.contains("[[listener]]") {
            text.push_str("[[listener]]\nname = \"http\"\naddress = \"127.0.0.1:0\"\n");
            text.extend(["[listener.limits]\n", &self.limits, "\n"]);
        }
        if !toml.contains("[admin]") {
            text.push_str("[admin]\naddress = \"127.0.0.1:0\"\n");
        }
        if !toml.contains("[access_log]") {
            text.push_str("[access_log]\nsink = \"{dir}/access.log\"\n");
        }
        text.push_str(toml);
        for (place, with) in &self.places {
            text = text.replace(place, with);
        }
        text.replace("{dir}", &dir.path().to_string_lossy())
    }
}

/// Starts an app on ports that the system chooses.
#[track_caller]
pub fn start(options: Options) -> Result<App, StartError> {
    ports::chosen_by_the_system(&std::fs::read_to_string(&options.path).unwrap_or_default());
    App::start(options)
}

/// The value of one series in the metrics' text, written with its labels; 0 if only its family exists.
#[track_caller]
pub fn series(text: &str, series: &str) -> f64 {
    let family = series.split('{').next().unwrap_or(series);
    assert!(text.contains(&format!("# TYPE {family} ")), "there is no metric {family}");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.map_or(0.0, |value| value.parse().unwrap_or_else(|_| panic!("{series} is {value}")))
}

impl Proxy {
    /// A proxy whose text has no placeholders.
    #[track_caller]
    pub fn start(toml: &str) -> Self {
        Setup::default().start(toml)
    }

    /// [`ONE_ROUTE`] to this upstream.
    #[track_caller]
    pub fn to(upstream: &Upstream) -> Self {
        Self::with("main", upstream).start(ONE_ROUTE)
    }

    /// Replaces `{name}` in the text by the address of this upstream.
    pub fn with(name: &str, upstream: &Upstream) -> Setup {
        Setup::default().with(name, upstream)
    }

    /// With this number of workers.
    pub fn workers(workers: usize) -> Setup {
        Setup::default().workers(workers)
    }

    /// The app itself.
    pub fn app(&self) -> &App {
        self.app.as_ref().expect("it is there until it is dropped or stopped")
    }

    /// Drains and waits for the end.
    pub fn stop(mut self) -> Stopped {
        let app = self.app.take().expect("it is there until it is dropped or stopped");
        app.stop();
        app.wait()
    }

    /// The address of the first listener.
    pub fn address(&self) -> SocketAddr {
        self.app().listeners()[0].1
    }

    /// The address of the listener with this name, if there is one.
    pub fn listener(&self, name: &str) -> Option<SocketAddr> {
        self.app().listeners().into_iter().find(|(known, _)| known == name).map(|(_, address)| address)
    }

    /// The address of the admin listener.
    pub fn admin(&self) -> SocketAddr {
        self.app().admin()
    }

    /// A new connection.
    #[track_caller]
    pub fn connect(&self) -> Raw {
        Raw::connect(self.address())
    }

    /// The directory with `routes.toml`.
    pub fn dir(&self) -> &std::path::Path {
        self.dir.path()
    }

    /// Replaces the text atomically, as an editor does.
    pub fn write(&self, toml: &str) {
        let fresh = self.dir.path().join("routes.toml.new");
        std::fs::write(&fresh, self.setup.text(toml, &self.dir)).unwrap();
        std::fs::rename(fresh, self.dir.path().join("routes.toml")).unwrap();
    }

    /// Replaces the text, requests a reload, and waits until every worker uses the new rules. `Unchanged` can also mean
    /// that the watcher was faster.
    pub fn rewrite(&self, toml: &str) -> ReloadOutcome {
        self.write(toml);
        let outcome = self.app().reload();
        let generation = self.metric("pointsman_config_generation");
        for worker in 0..self.setup.workers {
            let series = format!("pointsman_worker_generation{{worker=\"{worker}\"}}");
            until("a worker uses the new generation", || (self.metric(&series) >= generation).then_some(()));
        }
        outcome
    }

    /// The metrics' text.
    #[track_caller]
    pub fn metrics(&self) -> String {
        let mut admin = Raw::connect(self.admin());
        let head = format!("GET /metrics HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.admin());
        admin.send(head).read_response().text()
    }

    /// The value of one series, written with its labels; 0 if only its family exists.
    #[track_caller]
    pub fn metric(&self, series: &str) -> f64 {
        self::series(&self.metrics(), series)
    }

    /// The sum of all series of a family.
    #[track_caller]
    pub fn metric_sum(&self, family: &str) -> f64 {
        let text = self.metrics();
        assert!(text.contains(&format!("# TYPE {family} ")), "there is no metric {family}");
        let of = |line: &str| {
            let rest = line.strip_prefix(family)?;
            rest.starts_with(['{', ' ']).then(|| rest.rsplit(' ').next().unwrap_or("0").parse::<f64>().unwrap())
        };
        text.lines().filter_map(of).sum()
    }

    /// The number of refusals for this reason.
    #[track_caller]
    pub fn refused(&self, reason: &str) -> f64 {
        self.metric(&format!("pointsman_refused_total{{reason=\"{reason}\"}}"))
    }

    /// The JSON of `/status`.
    pub fn status(&self) -> Value {
        self.app().status()
    }

    /// The access log as text.
    pub fn log_text(&self) -> String {
        std::fs::read_to_string(self.dir.path().join("access.log")).unwrap_or_default()
    }

    /// The access log's lines so far.
    #[track_caller]
    pub fn log_lines(&self) -> Vec<Value> {
        let text = self.log_text();
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        let line = |line| serde_json::from_str(line).unwrap_or_else(|error| panic!("{error} in the log: {line}"));
        whole.lines().map(line).collect()
    }

    /// Waits for this number of lines in the access log; more lines are an error.
    #[track_caller]
    pub fn logged(&self, count: usize) -> Vec<Value> {
        let lines = until("lines in the access log", || {
            let lines = self.log_lines();
            (lines.len() >= count).then_some(lines)
        });
        assert_eq!(lines.len(), count, "lines in the access log: {lines:#?}");
        lines
    }

    /// Waits until no request is in flight and no client is connected, and checks the counts: every connection that was
    /// accepted was closed.
    #[track_caller]
    pub fn settles(&self) {
        until("requests end", || (self.metric("pointsman_requests_in_flight") == 0.0).then_some(()));
        until("connections end", || (self.metric_sum("pointsman_connections") == 0.0).then_some(()));
        let (accepted, closed) =
            (self.metric("pointsman_connections_accepted_total"), self.metric("pointsman_connections_closed_total"));
        assert_eq!(accepted, closed, "connections accepted and closed");
    }
}

/// A resolver that knows no names.
pub struct Ignorant;

impl Resolve for Ignorant {
    fn resolve(&self, _name: &str) -> Pin<Box<dyn Future<Output = LookupResult> + Send>> {
        Box::pin(async { Err("no such name".to_owned()) })
    }
}
