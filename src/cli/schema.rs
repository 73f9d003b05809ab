//! `schema`: the JSON Schema of the routes file, for editors.

use super::{Exit, out};
use crate::config;

/// Prints the schema.
pub fn schema() -> anyhow::Result<Exit> {
    out::print_json(&config::schema())?;
    Ok(Exit::Ok)
}
