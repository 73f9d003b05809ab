//! Who the caller is, where that takes more than reading: tokens are verified by keys out of a file, addresses looked up
//! in a database out of a file. What comes of it are plain facts, which `route/` decides by.

mod base64url;
mod cache;
mod claims;
mod flaw;
mod geo;
mod keys;
mod token;
mod witnesses;

pub use cache::TokenCache;
pub use claims::flatten;
pub use flaw::Flaw;
pub use geo::Geo;
pub use keys::{Algorithms, Keys};
pub use token::{Tokens, Trusted, Verified, Where};
pub use witnesses::{Found, Witnesses};
