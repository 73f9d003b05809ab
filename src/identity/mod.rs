//! Identity providers: tokens are verified with the keys of a file, and addresses are looked up in a database of
//! countries. The results are plain facts, which `route/` decides by.

mod base64url;
mod cache;
mod claims;
mod facts;
mod geo;
mod keys;
mod provider_file_error;
mod token;

pub use cache::TokenCache;
pub use claims::flatten;
pub use facts::{IdentityFacts, IdentityProviders};
pub use geo::GeoDatabase;
pub use keys::{Algorithms, KeySet};
pub use provider_file_error::ProviderFileError;
pub use token::{TokenLocation, TokenPolicy, TokenVerifier, Verified};
