//! The integration tests: one binary, everything through real sockets, files and processes.

mod admin;
mod agree;
mod cli;
mod decision;
mod drain;
mod golden;
mod h2;
mod harness;
mod http1;
mod process;
mod reload;
mod upstream;
