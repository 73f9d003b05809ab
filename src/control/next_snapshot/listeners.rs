//! Carries listeners over: by name and address, else by address alone (the socket continues under another name).

use std::sync::Arc;

use crate::control::hand_over::{InheritedSockets, SocketOwner};
use crate::control::system::{BindError, bind};
use crate::route::ListenerSpec;
use crate::snapshot::{Listener, ListeningSocket};
use crate::telemetry::PerWorker;
use crate::tls::Server;

/// Carries listeners over, and binds new ones.
///
/// # Errors
/// All addresses that cannot be bound; the other new sockets are closed again.
pub fn listeners(
    old: &[Arc<Listener>],
    specs: &[ListenerSpec],
    tls: &[Option<Arc<Server>>],
    workers: usize,
    inherited: &mut InheritedSockets,
) -> Result<Arc<[Arc<Listener>]>, Vec<BindError>> {
    let mut claimed = vec![false; old.len()];
    let mut next: Vec<Option<Arc<Listener>>> = vec![None; specs.len()];
    for same in [same_identity, same_address] {
        for ((slot, spec), tls) in next.iter_mut().zip(specs).zip(tls) {
            let free = |(at, listener): &(usize, &Arc<Listener>)| !claimed[*at] && same(&listener.spec, spec);
            if slot.is_none()
                && let Some((at, listener)) = old.iter().enumerate().find(free)
            {
                claimed[at] = true;
                *slot = Some(self::listener(listener, spec, tls.as_ref()));
            }
        }
    }
    let mut errors = Vec::new();
    for ((slot, spec), tls) in next.iter_mut().zip(specs).zip(tls).filter(|((slot, _), _)| slot.is_none()) {
        match open(spec, tls.clone(), workers, inherited) {
            Ok(listener) => *slot = Some(Arc::new(listener)),
            Err(source) => {
                let who = format!("listener \"{}\"", spec.name);
                errors.push(BindError { who, address: spec.address, source });
            }
        }
    }
    if errors.is_empty() { Ok(next.into_iter().flatten().collect()) } else { Err(errors) }
}

fn same_identity(old: &ListenerSpec, new: &ListenerSpec) -> bool {
    old.name == new.name && old.address == new.address
}

fn same_address(old: &ListenerSpec, new: &ListenerSpec) -> bool {
    old.address == new.address
}

/// The next state of a listener: the same socket with the new specification.
fn listener(old: &Arc<Listener>, spec: &ListenerSpec, tls: Option<&Arc<Server>>) -> Arc<Listener> {
    let (tls, same) = match (&old.tls, tls) {
        (Some(old), Some(new)) if new.is_same(old) => (Some(Arc::clone(old)), true),
        (Some(old), Some(new)) => (Some(Arc::new(new.inheriting(old))), false),
        (None, None) => (None, true),
        (_, new) => (new.cloned(), false),
    };
    if same && old.spec == *spec {
        return Arc::clone(old);
    }
    Arc::new(Listener {
        spec: spec.clone(),
        bound: old.bound,
        socket: Arc::clone(&old.socket),
        meters: Arc::clone(&old.meters),
        tls,
    })
}

/// The changes to the certificates of listeners that are carried over, for people.
#[must_use]
pub fn certificate_changes(old: &[Arc<Listener>], new: &[Arc<Listener>]) -> Vec<String> {
    let mut lines = Vec::new();
    for listener in new {
        let before = old.iter().find(|old| old.spec.name == listener.spec.name).and_then(|old| old.tls.as_ref());
        if let (Some(before), Some(now)) = (before, &listener.tls) {
            let changes = now.changes(before);
            lines.extend(changes.into_iter().map(|line| format!("listener {}: {line}", listener.spec.name)));
        }
    }
    lines
}

fn open(
    spec: &ListenerSpec,
    tls: Option<Arc<Server>>,
    workers: usize,
    inherited: &mut InheritedSockets,
) -> std::io::Result<Listener> {
    let socket = match inherited.take(SocketOwner::Listener(&spec.name), spec.address) {
        Some(socket) => socket,
        None => Arc::new(ListeningSocket::own(bind(spec.address)?)),
    };
    let meters = Arc::new(PerWorker::new(workers));
    Ok(Listener { spec: spec.clone(), bound: socket.local_addr()?, socket, meters, tls })
}
