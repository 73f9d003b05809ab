//! The configuration: reads `routes.toml`, reports all of its errors at once, and compiles it into
//! [`crate::route::Rules`]. Start-up, reload, `check`, `explain` and `what-if` all use this code.

#[cfg(test)]
mod admin_tests;
mod compile;
mod compile_routes;
#[cfg(test)]
mod endpoint_file_tests;
#[cfg(test)]
mod failure_tests;
#[cfg(test)]
mod guard_tests;
#[cfg(test)]
mod hostile_tests;
mod kept;
mod load;
mod load_cache;
#[cfg(test)]
mod load_cache_tests;
mod read;
#[cfg(test)]
mod review_tests;
#[cfg(test)]
mod rollout_tests;
mod route_test_run;
mod schema;
#[cfg(test)]
mod shared_route_tests;
#[cfg(test)]
mod suggestion_tests;
mod tables;
#[cfg(test)]
mod tests;
mod toml;
#[cfg(test)]
mod upstream_tests;

pub use load::{Loaded, load, load_edit, load_input, load_keeping, load_text};
pub use load_cache::LoadCache;
pub use route_test_run::{RouteTestRun, run_route_tests};
pub use schema::schema;
pub use tables::endpoints_file::parse_endpoints;
pub use tables::route_test::RouteTest;

pub use self::toml::applied_files::AppliedFiles;
pub use self::toml::context::Env;
pub use self::toml::diagnostic::{Diagnostic, Diagnostics, Label, Severity};
pub use self::toml::grammar::parse_duration;
pub use self::toml::render::Color;
pub use self::toml::source::Source;
pub use self::toml::suggest::nearest;
