//! TLS without a socket: certificates and keys as they stand in files, which of them answers to which name, and who a
//! client proves to be. What is read here cannot be wrong afterwards; what is wrong is told as a [`Flaw`].

mod certificate;
mod client;
mod crypto;
mod flaw;
mod handshake;
mod identity;
mod last_good;
mod names;
mod pem;
mod server;
mod trust;

pub use certificate::Certificate;
pub use client::{Dial, client, is_server_name, system_places, system_roots};
pub use crypto::{provider, sha256_hex};
pub use flaw::Flaw;
pub use handshake::{ClientHandshakeFailure, Handshake, Shown};
pub use identity::Identity;
pub use last_good::{InUse, LastGood};
pub use names::Names;
pub use pem::{certificates, private_key, roots};
pub use server::{Authority, Served, Server, Stale};
