//! TLS without a socket: certificates and keys as they stand in files, which of them answers to which name, and who a
//! client proves to be. What is read here cannot be wrong afterwards; what is wrong is told as a [`CertificateError`].

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
pub use client::{EndpointTls, client, is_server_name, system_places, system_roots};
pub use client_identity::ClientIdentity;
pub use crypto::{provider, sha256_hex};
pub use handshake::{ClientHandshakeFailure, Handshake, OwnCertificate};
pub use last_good::{CertificateSource, LastGood};
pub use pem::{certificates, private_key, roots};
pub use server::{Authority, ServedCertificate, Server, Stale};
