//! What people write, and what it means: reads `routes.toml`, reports everything that is wrong with it at once, and
//! compiles it into [`crate::route::Rules`]. Start-up, reload, `check`, `explain` and `what-if` all come this way.

mod action;
mod address;
mod admin;
mod brackets;
mod client_tls;
mod compare;
mod compile;
mod context;
#[cfg(test)]
mod cures_tests;
mod diagnostic;
mod dns;
mod document;
mod env;
mod foreign;
mod golden;
mod grpc;
mod hints;
#[cfg(test)]
mod hostile_tests;
mod identity;
mod kill;
mod listener;
mod load;
mod pairs;
mod paths;
mod predicate;
mod read;
mod reader;
mod registry;
mod render;
mod rewrite;
mod route;
mod schema;
mod segment;
mod shadow;
mod shadowed;
mod shorthand;
mod source;
mod spec;
mod suggest;
mod syntax;
mod target;
mod tenants;
#[cfg(test)]
mod tests;
mod tls;
mod tokens;
mod traces;
mod unclosed;
mod upstream;
mod value;
mod variant;
mod veil;
mod witnesses;

pub use context::Env;
pub use diagnostic::{Diagnostic, Diagnostics, Label, Severity};
pub use golden::{Golden, GoldenRun, run_goldens};
pub use load::{Loaded, load, load_input, load_keeping, load_text};
pub use render::Color;
pub use schema::schema;
pub use source::Source;
pub use value::parse_duration;
