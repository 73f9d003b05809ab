//! TLS without sockets: reads certificates and keys, selects a certificate by name, and reads the identity of clients.
//! A value that exists is valid; errors are [`CertificateError`]s.

mod certificate;
mod certificate_error;
mod certificate_names;
mod client;
mod client_identity;
mod crypto;
mod handshake;
mod last_good;
mod pem;
mod server;
mod trust;

pub use certificate::Certificate;
pub use certificate_error::CertificateError;
pub use certificate_names::CertificateNames;
pub use client::{EndpointTls, client, is_server_name, system_root_paths, system_roots};
pub use client_identity::ClientIdentity;
pub use crypto::{provider, sha256_hex};
pub use handshake::{ClientHandshakeFailure, Handshake, OwnCertificate};
pub use last_good::{CertificateSource, LastGood};
pub use pem::{certificates, private_key, roots};
pub use server::{Authority, ServedCertificate, Server, Stale};
