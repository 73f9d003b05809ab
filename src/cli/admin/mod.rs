//! The running proxy of a command: where its admin listener is, who asks, one request to it, and its refusals.

mod dial;
mod endpoint;
mod fetch;
mod place;
mod problem;
mod token;

pub use endpoint::{AdminEndpoint, Credentials, Purpose, VARIABLE};
pub use fetch::{AdminResponse, FetchOptions, Sent};
pub use place::AdminPlace;
pub use problem::ProblemDocument;
pub use token::{BearerToken, TOKEN_VARIABLE};
