//! Every metric and its name: the families of a scrape, as text for Prometheus or forwarded to a recorder of the
//! embedding program. Label values come from the configuration only, never from a client. Series without a count are
//! left out, so that 100 000 unused routes cost a scrape nothing.

mod admission;
mod counted;
mod edge;
mod expose;
mod notifications;
mod process;
mod push;
mod releases;
mod rollouts;
mod samples;
mod scrape;
mod shadow;
mod text;
mod tls;
mod tokens;
mod upstreams;
mod variants;

pub use expose::{CONTENT_TYPE, expose};
pub use push::{FigurePusher, Push, SharedRecorder};
pub use scrape::{
    CertificateFigures, CheckFigures, ComparisonFigures, GuardFigures, HealthFigures, LimitFigures, ReceiverFigures,
    ReleaseFigures, RolloutFigures, RouteRefusals, RouteShares, Scrape, UpstreamFigures, VariantShare, WeightedSeries,
};

#[cfg(test)]
mod tests;
