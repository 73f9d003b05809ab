//! The admin listener: a small HTTP/1.1 server on the control thread, never on the path of a request. It has TCP
//! addresses and a Unix socket. An address that cannot be bound fails a start or a reload; the socket never does: its
//! trouble is logged and shown in `/status`, and it is tried again.

use std::io;
use std::net::SocketAddr;
use std::os::unix::net::UnixListener as LocalListener;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use tokio::net::{TcpListener, UnixListener};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use super::access::{AdminClient, ClientOrigin, ClientTransport, ConnectionLife, SocketPeer, user_name};
use super::calls::AdminState;
use super::connection::{Places, serve};
use super::router::router;
use super::tls::AdminTls;
use super::unix_socket::{BoundSocket, OtherListener, SocketCheck, SocketPlace};
use crate::control::event::{Event, ProcessEvent};
use crate::control::files::ConfigChecker;
use crate::control::hand_over::{InheritedSockets, SocketOwner};
use crate::control::state::{AdminSocketState, ControlState};
use crate::control::system::{BindError, bind};
use crate::route::Rules;
use crate::snapshot::ListeningSocket;
use crate::tls::Server;

/// Concurrent connections to all addresses; more wait in the kernel.
const CONNECTIONS_MAX: usize = 512;
/// How many of them are for the calls that must always work.
const RESERVED_CONNECTIONS: usize = 64;
/// Concurrent connections to the socket.
const SOCKET_CONNECTIONS_MAX: usize = 64;
/// How many of them are for the calls that must always work.
const RESERVED_SOCKET_CONNECTIONS: usize = 16;
/// Pause after a failed accept, such as too many open files.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);
/// How long the name of a user may take to look up.
const USER_NAME_TIMEOUT: Duration = Duration::from_secs(1);

/// The admin listener: one socket for each address, and the Unix socket.
pub struct AdminListener {
    state: Arc<ControlState>,
    router: Router,
    closing: watch::Sender<bool>,
    places: Places,
    socket_places: Places,
    /// The TLS configuration of the addresses; `None` for cleartext.
    tls: watch::Sender<Option<AdminTls>>,
    serving: Vec<ServedAddress>,
    /// The place of the Unix socket that the rules name.
    socket_place: Option<SocketPlace>,
    socket: Option<ServedSocket>,
    /// Whether the socket is being checked.
    is_checking: bool,
    events: mpsc::Sender<Event>,
}

struct ServedAddress {
    wanted: SocketAddr,
    bound: SocketAddr,
    socket: Arc<ListeningSocket>,
    accepting: JoinHandle<()>,
}

struct ServedSocket {
    place: SocketPlace,
    bound: BoundSocket,
    accepting: JoinHandle<()>,
}

/// A prepared listener: its addresses, in the order of the file, their TLS, and the place of its socket.
#[derive(Debug)]
pub struct PreparedAdmin {
    addresses: Vec<PreparedAddress>,
    tls: Option<AdminTls>,
    socket: Option<SocketPlace>,
}

/// A prepared address.
#[derive(Debug)]
enum PreparedAddress {
    /// The address is served already.
    Kept(SocketAddr),
    /// A new socket.
    New(Bound),
}

/// A bound socket that is not served yet.
#[derive(Debug)]
struct Bound {
    wanted: SocketAddr,
    socket: Arc<ListeningSocket>,
    listener: TcpListener,
    address: SocketAddr,
}

impl AdminListener {
    /// A listener without addresses.
    #[must_use]
    pub fn new(state: Arc<ControlState>, events: mpsc::Sender<Event>, checker: ConfigChecker) -> Self {
        let closing = watch::Sender::new(false);
        let router = router(AdminState::new(Arc::clone(&state), events.clone(), checker, closing.subscribe()));
        Self {
            state,
            router,
            closing,
            places: Places::new(CONNECTIONS_MAX, RESERVED_CONNECTIONS),
            socket_places: Places::new(SOCKET_CONNECTIONS_MAX, RESERVED_SOCKET_CONNECTIONS),
            tls: watch::Sender::new(None),
            serving: Vec::new(),
            socket_place: None,
            socket: None,
            is_checking: false,
            events,
        }
    }

    /// Binds each address of the rules that is neither served already nor inherited.
    ///
    /// # Errors
    /// The addresses that cannot be bound.
    pub fn prepare(
        &self,
        rules: &Rules,
        tls: Option<&Arc<Server>>,
        inherited: &mut InheritedSockets,
    ) -> Result<PreparedAdmin, Vec<BindError>> {
        let wanted = rules.admin.addresses.as_slice();
        // Each served socket is used once: the file may have port 0 several times.
        let mut served: Vec<SocketAddr> = self.serving.iter().map(|one| one.wanted).collect();
        let (mut addresses, mut errors) = (Vec::new(), Vec::new());
        for address in wanted {
            if let Some(at) = served.iter().position(|one| one == address) {
                served.swap_remove(at);
                addresses.push(PreparedAddress::Kept(*address));
                continue;
            }
            match open(*address, wanted, inherited) {
                Ok(bound) => addresses.push(PreparedAddress::New(bound)),
                Err(source) => {
                    errors.push(BindError { who: "the admin listener".to_owned(), address: *address, source });
                }
            }
        }
        let tls = tls.map(|server| AdminTls::of(server));
        let socket = SocketPlace::of(rules);
        if errors.is_empty() { Ok(PreparedAdmin { addresses, tls, socket }) } else { Err(errors) }
    }

    /// Serves exactly these addresses from now on, and returns the bound ones. Connections to removed addresses run to
    /// their end. The Unix socket follows with [`Self::open_socket`].
    pub fn adopt(&mut self, prepared: PreparedAdmin) -> Vec<SocketAddr> {
        // First: no new address is served in cleartext.
        self.tls.send_replace(prepared.tls);
        let mut before = std::mem::take(&mut self.serving);
        for place in prepared.addresses {
            match place {
                PreparedAddress::Kept(wanted) => {
                    let at = before.iter().position(|one| one.wanted == wanted);
                    self.serving.extend(at.map(|at| before.remove(at)));
                }
                PreparedAddress::New(Bound { wanted, socket, listener, address: bound }) => {
                    let accept = AddressAccept { listener, bound, tls: self.tls.subscribe() };
                    let accepting = accept.run(self.router.clone(), self.places.clone());
                    self.serving.push(ServedAddress { wanted, bound, socket, accepting: tokio::spawn(accepting) });
                }
            }
        }
        before.into_iter().for_each(ServedAddress::close);
        self.socket_place = prepared.socket;
        self.serving.iter().map(|one| one.bound).collect()
    }

    /// The addresses in the file, and their sockets.
    pub fn sockets(&self) -> impl Iterator<Item = (SocketAddr, &Arc<ListeningSocket>)> {
        self.serving.iter().map(|one| (one.wanted, &one.socket))
    }

    /// Tries again when the Unix socket could not be bound, or its file was removed: on a thread that may block. The
    /// result comes as an event.
    pub fn check_socket(&mut self) {
        let Some(place) = self.socket_place.clone() else { return };
        if *self.closing.borrow() || std::mem::replace(&mut self.is_checking, true) {
            return;
        }
        let before = self.socket.as_ref().map(|socket| socket.bound.file().clone());
        let events = self.events.clone();
        tokio::spawn(async move {
            let check = tokio::task::spawn_blocking(move || SocketCheck::run(place, before)).await;
            // The task ends with a panic only, which has been printed. Sending fails when the controller has ended.
            let event = ProcessEvent::SocketChecked(check.ok().map(Box::new));
            let _ = events.send(Event::Process(event)).await;
        });
    }

    /// Serves what a check has bound, unless the rules or the socket have changed since.
    pub fn adopt_socket(&mut self, check: Option<Box<SocketCheck>>) {
        self.is_checking = false;
        let Some(SocketCheck { place, before, bound: Some(bound) }) = check.map(|check| *check) else { return };
        let is_same = self.socket.as_ref().map(|socket| socket.bound.file()) == before.as_ref();
        if is_same && self.socket_place.as_ref() == Some(&place) && !*self.closing.borrow() {
            self.close_socket();
            self.serve_socket(place, bound);
        }
    }

    /// Serves the Unix socket that the rules name. A failure is logged and shown in `/status`.
    pub fn open_socket(&mut self, other: OtherListener) {
        let is_served = self.socket.as_ref().is_some_and(|socket| {
            Some(&socket.place) == self.socket_place.as_ref() && socket.bound.file().is_in_place()
        });
        if is_served || *self.closing.borrow() {
            return;
        }
        self.close_socket();
        let Some(place) = self.socket_place.clone() else {
            self.state.lock().admin_socket = AdminSocketState::default();
            return;
        };
        let bound = place.bind(other);
        self.serve_socket(place, bound);
    }

    fn serve_socket(&mut self, place: SocketPlace, bound: Result<(BoundSocket, LocalListener), String>) {
        let bound = bound.and_then(|(bound, listener)| {
            let listener = UnixListener::from_std(listener).map_err(|error| error.to_string())?;
            Ok((bound, listener))
        });
        let path = place.path.clone();
        let trouble = match bound {
            Ok((bound, listener)) => {
                if let Some(remark) = &bound.remark {
                    tracing::warn!("{remark}");
                }
                let accepting = accept_local(listener, self.router.clone(), self.socket_places.clone());
                self.socket = Some(ServedSocket { place, bound, accepting: tokio::spawn(accepting) });
                None
            }
            Err(trouble) => Some(trouble),
        };
        let now = AdminSocketState { path: Some(path.clone()), trouble };
        let before = std::mem::replace(&mut self.state.lock().admin_socket, now.clone());
        let path = path.display();
        match &now.trouble {
            Some(trouble) if before != now => tracing::warn!(%path, "the admin socket is not available: {trouble}"),
            None if before.trouble.is_some() => tracing::info!(%path, "the admin socket is available"),
            Some(_) | None => {}
        }
    }

    /// Stops serving the Unix socket and removes its file. Connections to it run to their end.
    fn close_socket(&mut self) {
        if let Some(socket) = self.socket.take() {
            socket.accepting.abort();
        }
    }

    /// Stops accepting, and ends event streams. The Unix socket is not opened again.
    pub fn close(&mut self) {
        self.serving.drain(..).for_each(ServedAddress::close);
        self.closing.send_replace(true);
        self.close_socket();
    }
}

impl ServedAddress {
    fn close(self) {
        self.accepting.abort();
    }
}

fn open(wanted: SocketAddr, all: &[SocketAddr], inherited: &mut InheritedSockets) -> io::Result<Bound> {
    let socket = match inherited.take(SocketOwner::Admin(all), wanted) {
        Some(socket) => socket,
        None => Arc::new(ListeningSocket::own(bind(wanted)?)),
    };
    let listener = TcpListener::from_std(socket.try_clone()?)?;
    Ok(Bound { wanted, address: socket.local_addr()?, socket, listener })
}

/// Accepts the connections of an address.
struct AddressAccept {
    listener: TcpListener,
    bound: SocketAddr,
    tls: watch::Receiver<Option<AdminTls>>,
}

impl AddressAccept {
    async fn run(self, router: Router, places: Places) {
        loop {
            match self.listener.accept().await {
                Ok((stream, peer)) => {
                    let Some(place) = places.take().await else { return };
                    let (peer, bound) = (peer.ip(), self.bound);
                    let (router, tls) = (router.clone(), self.tls.borrow().clone());
                    tokio::spawn(async move {
                        let kind = place.kind;
                        let client = |transport| AdminClient {
                            origin: ClientOrigin::Tcp { peer, bound, transport },
                            place: kind,
                            life: ConnectionLife::new(),
                        };
                        match tls {
                            None => serve(stream, client(ClientTransport::Cleartext), router).await,
                            Some(tls) => {
                                if let Some(accepted) = tls.accept(stream, kind.head_timeout()).await {
                                    let transport = ClientTransport::Tls { certificate: accepted.certificate };
                                    serve(accepted.stream, client(transport), router).await;
                                }
                            }
                        }
                        drop(place);
                    });
                }
                Err(error) => pause_after(&error).await,
            }
        }
    }
}

async fn accept_local(listener: UnixListener, router: Router, places: Places) {
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let Some(place) = places.take().await else { return };
                let router = router.clone();
                let uid = stream.peer_cred().ok().map(|peer| peer.uid());
                tokio::spawn(async move {
                    let peer = match uid {
                        Some(uid) => Some(SocketPeer { uid, user: name_of(uid).await }),
                        None => None,
                    };
                    let origin = ClientOrigin::Socket(peer);
                    let client = AdminClient { origin, place: place.kind, life: ConnectionLife::new() };
                    serve(stream, client, router).await;
                    drop(place);
                });
            }
            Err(error) => pause_after(&error).await,
        }
    }
}

async fn pause_after(error: &io::Error) {
    tracing::warn!(%error, "the admin listener cannot accept");
    tokio::time::sleep(ACCEPT_PAUSE).await;
}

/// The name of a user; `uid:N` when it is not known in time: a slow directory of users does not keep a kill waiting.
async fn name_of(uid: u32) -> String {
    let name = tokio::time::timeout(USER_NAME_TIMEOUT, tokio::task::spawn_blocking(move || user_name(uid)));
    name.await.ok().and_then(Result::ok).unwrap_or_else(|| format!("uid:{uid}"))
}
