//! The head of an upstream's response, over either protocol.

use http::{StatusCode, Version};

use crate::fields::Fields;

/// The head of a response.
#[derive(Debug, Default)]
pub(crate) struct UpstreamHead {
    pub(crate) status: StatusCode,
    pub(crate) version: Version,
    pub(crate) fields: Fields,
}
