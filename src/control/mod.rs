//! The control plane: everything that changes what the data plane does. One thread with its own runtime, one task that
//! publishes (the controller); files, DNS, signals and the admin listener reach it as events. It never touches a
//! request.

mod admin;
mod carry;
mod controller;
mod event;
mod files;
mod hand_over;
mod ledger;
mod measure;
mod net;
mod outcome;
mod plan;
mod publish;
mod retired;
mod start;
mod system;

pub use admin::status;
pub use carry::overlaid;
pub use controller::Controller;
pub use event::{Event, FilesEvent, NetEvent, ProcessEvent, Reply};
pub use files::{Load, Rejection};
pub use hand_over::Succession;
pub use ledger::Ledger;
pub use net::{Answer, Answered, Resolve, SystemResolver};
pub use outcome::{Cause, Outcome};
pub use start::{Settings, StartError, Started, WorkerParts, bound, start};
pub use system::{Notify, Signals, Stopped};
