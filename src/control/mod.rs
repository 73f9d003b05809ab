//! The control plane: everything that changes what the data plane does. One thread with its own runtime, one task that
//! publishes (the controller); files, DNS, signals and the admin listener reach it as events. It never touches a
//! request.

mod admin;
mod carry;
mod controller;
mod desk;
mod event;
mod experiment;
mod explain;
mod files;
mod hand_over;
mod ledger;
mod measure;
mod net;
mod notify;
mod origin;
mod outcome;
mod plan;
mod process;
mod publish;
mod push;
mod reading;
mod reloading;
mod resolution;
mod resolve;
mod retired;
mod rounds;
mod scrape;
mod shadow;
mod signals;
mod socket;
mod source;
mod start;
mod status;
mod stopping;
mod trail;
mod watch;

pub use carry::overlaid;
pub use controller::Controller;
pub use event::{Event, FilesEvent, NetEvent, ProcessEvent, Reply};
pub use hand_over::Succession;
pub use ledger::Ledger;
pub use notify::Notify;
pub use outcome::{Cause, Outcome};
pub use resolution::{Answer, Answered};
pub use resolve::{Resolve, SystemResolver};
pub use signals::Signals;
pub use source::{Load, Rejection};
pub use start::{Settings, StartError, Started, WorkerParts, bound, start};
pub use status::status;
pub use stopping::Stopped;
