//! The control plane: everything that changes the data plane. One thread with its own runtime and one task that
//! publishes snapshots (the controller). Files, DNS, signals and the admin listener send it events. It is never on the
//! path of a request.

mod admin;
mod adoption;
mod background;
mod controller;
mod dashboard;
mod event;
mod files;
mod gate;
mod guard;
mod hand_over;
mod health;
mod history;
mod measure;
mod next_snapshot;
mod notify;
mod outcome;
mod plan;
mod publish;
mod release;
mod resolver;
mod retired;
mod route_traffic;
mod start;
mod start_error;
mod state;
mod system;

pub use admin::status;
pub use controller::Controller;
pub use event::{
    Event, FilesEvent, HealthEvent, ProcessEvent, ReleaseEvent, ReloadReply, ReloadRequest, ResolverEvent,
};
pub use files::{ConfigChecker, ConfigLoader, Rejection};
pub use hand_over::Succession;
pub use health::{EndpointAct, EndpointActError, EndpointActOutcome, EndpointActReply, EndpointVerb, ProbeResult};
pub use history::{ArmLine, GuardLine, HISTORY_EVERY, History, HistoryChart, HistoryMemory, HistoryOf};
pub use next_snapshot::with_overlay;
pub use notify::{NotifyEvent, NotifyTest, NotifyView, ReceiverStanding, TestError, TestReply};
pub use outcome::{ReloadCause, ReloadOutcome};
pub use release::{Act, ActError, ActOutcome, JournalHealth, KillInForce, KillSource, PersonAct, ReleaseView};
pub use resolver::{DnsAnswer, LookupResult, Resolve, SystemResolver};
pub use start::{ControlSettings, StartedControl, WorkerParts, bound, start};
pub use start_error::StartError;
pub use state::ControlState;
pub use system::{Signals, Stopped, SystemdNotify};
