//! The demo's stage: everything is set up in order, then the proxy runs until it is stopped.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::mpsc;
use std::thread;
use std::time::Duration;

use anyhow::{Context, anyhow};
use tokio::net::TcpListener;
use tokio::sync::mpsc::{UnboundedReceiver, unbounded_channel};
use tokio::task::LocalSet;

use super::brake::DemoBrake;
use super::certificate;
use super::dark_launch::DemoFindings;
use super::door::DemoDoor;
use super::file::{self, DemoAddresses, DemoDirectory, DemoKind};
use super::keys::{self, DemoKey, KEYS, Keyboard, STAGED_KEYS, SingleKeys};
use super::live::LiveView;
use super::panel::Panel;
use super::person;
use super::release::DemoRelease;
use super::script::{DemoScript, ScriptEnd};
use super::service::{self, DemoFault, Service, Switch};
use super::staged::StagedLook;
use super::staged_live::StagedView;
use super::tour::{self, TourContext};
use super::traffic;
use crate::app::{App, Environment, Options, Stopped};
use crate::cli::admin::{AdminEndpoint, AdminPlace, Credentials};
use crate::cli::args::DemoArguments;
use crate::cli::paint::Terminal;
use crate::cli::{Exit, out, run};
use crate::config;
use crate::telemetry::Medium;

/// Where the proxy listens for TLS, if the port is free.
const TLS_PORT: u16 = 8443;
/// Where the canary's fault is switched, if the port is free.
const SWITCH_PORT: u16 = 9901;
/// How long open requests may take when the demo stops.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// The tasks that run next to the proxy, on their own thread.
struct DemoTasks {
    stable: std::net::TcpListener,
    canary: std::net::TcpListener,
    dark: Option<std::net::TcpListener>,
    control: std::net::TcpListener,
    traffic: Option<SocketAddr>,
    switch: Switch,
    watch: DemoWatch,
}

/// What is watched while the demo runs.
enum DemoWatch {
    Weight(Box<LiveView>),
    Rollout(Box<StagedView>),
}

/// Where a view is shown, and what it acts with.
struct ViewContext<'a> {
    admin: SocketAddr,
    file: &'a Path,
    socket: Option<&'a Path>,
    door: &'a DemoDoor,
    program: &'a str,
    panel: &'a Panel,
    keyboard: Option<&'a Keyboard>,
    /// The access log, when the demo has chosen its place.
    log: Option<PathBuf>,
    switch: &'a Switch,
}

/// Runs the demo.
pub fn demo(arguments: &DemoArguments, terminal: Terminal) -> anyhow::Result<Exit> {
    let kind = if arguments.rollout { DemoKind::Rollout } else { DemoKind::Weight };
    let mut notes = Vec::new();
    let control = service::bind(port_or_any(SWITCH_PORT, arguments)).or_else(|_| service::bind(0))?;
    let env = certificate::environment()?;
    let DemoSetup { file, folder, places, stable, canary, dark } = new_setup(kind, arguments, &env, &mut notes)?;
    let environment = env.clone();
    let app = start(&file, env)?;
    let (proxy, admin) = (app.listeners().first().map_or(places.proxy, |(_, bound)| *bound), app.admin());
    let tls = places.tls.and_then(|_| app.listeners().get(1).map(|(_, bound)| *bound));
    let program = std::env::current_exe().map_or_else(|_| "pointsman".to_owned(), |path| path.display().to_string());
    let socket = socket(&file, &environment)?;
    let door = door(kind, &file, socket.as_deref(), admin)?;
    let keyboard = Keyboard::take();
    let keys = match kind {
        DemoKind::Weight => KEYS,
        DemoKind::Rollout => STAGED_KEYS,
    };
    let stage = TourContext {
        kind,
        proxy,
        tls,
        admin,
        link: door.first(),
        stable: places.stable,
        canary: places.canary,
        dark: places.dark,
        switch: control.local_addr()?,
        socket: socket.as_deref(),
        file: &file,
        program: &program,
        keys: keyboard.is_some().then_some(keys),
        notes: &notes,
    };
    out::print(&tour::tour(&stage, terminal.stdout))?;
    let panel = Panel::new(Medium::of(&std::io::stdout()), terminal.stdout);
    let switch = Switch::default();
    let context = ViewContext {
        admin,
        file: &file,
        socket: socket.as_deref(),
        door: &door,
        program: &program,
        panel: &panel,
        keyboard: keyboard.as_ref(),
        log: folder.is_some().then(|| file.with_file_name("access.log")),
        switch: &switch,
    };
    let (sender, ended) = mpsc::channel();
    let watch = match kind {
        DemoKind::Weight => DemoWatch::Weight(Box::new(context.weight()?)),
        DemoKind::Rollout => DemoWatch::Rollout(Box::new(context.rollout(sender)?)),
    };
    let traffic = (!arguments.no_traffic).then_some(proxy);
    let cast = DemoTasks { stable, canary, dark, control, traffic, switch, watch };
    thread::Builder::new().name("demo".to_owned()).spawn(move || cast.perform())?;
    let stopped = app.wait();
    let end = match stopped {
        Stopped::Drained => "stopped: every open request was answered",
        Stopped::Forced => "stopped: requests still open after 5 s were cut",
        Stopped::AtOnce => "stopped at once",
    };
    let left = folder.map_or_else(|| format!("kept {}", file.display()), DemoDirectory::remove);
    panel.close(&[end.to_owned(), left]);
    drop(keyboard);
    Ok(match ended.try_recv() {
        Ok(ScriptEnd::Stuck) => Exit::Failed,
        Ok(ScriptEnd::Complete) | Err(_) => run::ended(stopped),
    })
}

impl ViewContext<'_> {
    fn weight(self) -> anyhow::Result<LiveView> {
        let place = AdminPlace::Url(format!("http://{}", self.admin));
        let listener = AdminEndpoint::at(place, Credentials::default());
        Ok(LiveView {
            admin: listener.clone(),
            brake: self.socket.map(|socket| DemoBrake::new(socket, self.program)),
            findings: DemoFindings::new(listener),
            door: self.door.clone(),
            switch: self.switch.clone(),
            panel: self.panel.clone(),
            keys: self.keyboard.map(listen_to_keys).transpose()?,
            log: self.log,
            file: self.file.to_owned(),
            hinted: false,
            fault: DemoFault::Off,
            release: DemoRelease::default(),
        })
    }

    fn rollout(self, ended: mpsc::Sender<ScriptEnd>) -> anyhow::Result<StagedView> {
        let place = AdminPlace::Url(format!("http://{}", self.admin));
        let folder = self.file.parent().unwrap_or_else(|| Path::new("."));
        Ok(StagedView {
            admin: AdminEndpoint::at(place, person::credentials(folder)?),
            door: self.door.clone(),
            switch: self.switch.clone(),
            panel: self.panel.clone(),
            keys: self.keyboard.map(listen_to_keys).transpose()?,
            script: self.keyboard.is_none().then(|| (DemoScript::new(), ended)),
            log: self.log,
            look: StagedLook::default(),
            fault: DemoFault::Off,
        })
    }
}

/// The file, and the services that it names.
struct DemoSetup {
    file: PathBuf,
    /// Where the demo has written its files; nothing when they were there already.
    folder: Option<DemoDirectory>,
    places: DemoAddresses,
    stable: std::net::TcpListener,
    canary: std::net::TcpListener,
    dark: Option<std::net::TcpListener>,
}

/// Writes the file, or uses the existing one with its addresses.
fn new_setup(
    kind: DemoKind,
    arguments: &DemoArguments,
    env: &Environment,
    notes: &mut Vec<String>,
) -> anyhow::Result<DemoSetup> {
    let kept = arguments.dir.as_deref().map(|dir| file::kept(kind, dir, env)).transpose()?.flatten();
    if let Some((file, places)) = kept {
        notes.push(format!("{} is there already: its routes and addresses are used as they are", file.display()));
        if arguments.tls && places.tls.is_none() {
            notes.push(
                "it has no listener for TLS, so --tls does nothing; name another directory with --dir".to_owned(),
            );
        }
        let again = |name: &str, at: SocketAddr| {
            std::net::TcpListener::bind(at)
                .with_context(|| format!("{name} cannot listen on {at} again; name another directory with --dir"))
        };
        let (stable, canary) = (again("shop-v1", places.stable)?, again("shop-v2", places.canary)?);
        let dark = places.dark.map(|dark| again("shop-v3", dark)).transpose()?;
        return Ok(DemoSetup { file, folder: None, places, stable, canary, dark });
    }
    let (stable, canary) = (service::bind(0)?, service::bind(0)?);
    let dark = match kind {
        DemoKind::Weight => Some(service::bind(0)?),
        DemoKind::Rollout => None,
    };
    let proxy = free(arguments.port, "the proxy", notes)?;
    let admin = free(arguments.admin_port, "the admin listener", notes)?;
    let tls = if arguments.tls { Some(free(port_or_any(TLS_PORT, arguments), "HTTPS", notes)?) } else { None };
    let (v1, v2) = (stable.local_addr()?, canary.local_addr()?);
    let v3 = dark.as_ref().map(std::net::TcpListener::local_addr).transpose()?;
    let places = DemoAddresses { proxy, tls, admin, stable: v1, canary: v2, dark: v3 };
    let folder = DemoDirectory::make(arguments.dir.as_deref())?;
    if kind == DemoKind::Rollout {
        person::make(folder.path())?;
    }
    let file = file::write(kind, &places, &folder)?;
    Ok(DemoSetup { file, folder: Some(folder), places, stable, canary, dark })
}

impl DemoTasks {
    /// Services, traffic and the live line share one thread; it ends with the process, so that requests which drain
    /// still find their service.
    fn perform(self) -> anyhow::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        LocalSet::new().block_on(&runtime, async move {
            let listener = |std: std::net::TcpListener| -> std::io::Result<TcpListener> {
                std.set_nonblocking(true)?;
                TcpListener::from_std(std)
            };
            let price = service::price;
            let stable = Service { variant: "stable", name: "shop-v1 1.0.0", switch: None, price };
            let switch = Some(self.switch.clone());
            let canary = Service { variant: "canary", name: "shop-v2 2.0.0", switch, price };
            tokio::task::spawn_local(service::serve(listener(self.stable)?, stable));
            tokio::task::spawn_local(service::serve(listener(self.canary)?, canary));
            if let Some(dark) = self.dark {
                let price = service::other_price;
                let service = Service { variant: "dark", name: "shop-v3 3.0.0", switch: None, price };
                tokio::task::spawn_local(service::serve(listener(dark)?, service));
            }
            tokio::task::spawn_local(service::serve_switch(listener(self.control)?, self.switch));
            if let Some(proxy) = self.traffic {
                traffic::start(proxy);
            }
            Ok(match self.watch {
                DemoWatch::Weight(view) => view.run().await,
                DemoWatch::Rollout(view) => view.run().await,
            }?)
        })
    }
}

/// Where links to the dashboard come from: they sign in as the person who approves the rollout, or as the user of the demo.
fn door(kind: DemoKind, file: &Path, socket: Option<&Path>, admin: SocketAddr) -> anyhow::Result<DemoDoor> {
    let folder = file.parent().unwrap_or_else(|| Path::new("."));
    let credentials = match kind {
        DemoKind::Weight => Credentials::default(),
        DemoKind::Rollout => person::credentials(folder)?,
    };
    Ok(DemoDoor::new(socket, admin, credentials))
}

/// The socket of the admin listener, where it could be bound.
fn socket(file: &Path, env: &Environment) -> anyhow::Result<Option<PathBuf>> {
    Ok(config::load(file, &**env)?.rules.admin.socket.clone().filter(|socket| socket.exists()))
}

fn start(file: &Path, env: Environment) -> anyhow::Result<App> {
    let options = Options { drain_deadline: DRAIN_DEADLINE, env, ..Options::new(file) };
    App::start(options).map_err(|error| anyhow!("{error}"))
}

/// The port of a service without its own argument: with `--port 0` the system chooses it too.
fn port_or_any(port: u16, arguments: &DemoArguments) -> u16 {
    if arguments.port == 0 { 0 } else { port }
}

fn free(port: u16, what: &str, notes: &mut Vec<String>) -> anyhow::Result<SocketAddr> {
    let bound = match service::bind(port) {
        Ok(bound) => bound,
        Err(error) => {
            let bound = service::bind(0)?;
            notes.push(format!("port {port} is not available ({error}); {what} uses {}", bound.local_addr()?.port()));
            bound
        }
    };
    Ok(bound.local_addr()?)
}

/// Starts the thread that reads keys, and sets the terminal to single keys.
fn listen_to_keys(keyboard: &Keyboard) -> anyhow::Result<(UnboundedReceiver<DemoKey>, SingleKeys)> {
    let (sender, receiver) = unbounded_channel();
    keys::listen(sender)?;
    Ok((receiver, keyboard.single()))
}
