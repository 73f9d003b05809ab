//! Words for people: the subcommands of the one binary. Each reads its arguments, calls the same code that routes,
//! and prints; nothing is decided here.

mod act;
mod address;
mod admin;
mod args;
mod check;
mod compare;
mod completions;
mod dashboard;
mod demo;
mod diagnostic_text;
mod endpoint_row;
mod entry;
mod exit;
mod explain;
mod guess;
mod init;
mod journal;
mod kill_row;
mod load;
mod out;
mod paint;
mod plan;
mod receiver_row;
mod rehearse;
mod release_row;
mod reload;
mod rollout_row;
mod run;
mod schema;
mod sketch;
mod status;
mod token;
mod traffic;
mod watched;
mod what_if;

pub use args::Arguments;
pub use entry::main;
pub use exit::Exit;
