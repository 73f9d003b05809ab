//! The metrics of notifications: what has arrived at each receiver, and what waits for it.

use super::scrape::{ReceiverFigures, Scrape};
use crate::telemetry::family::{FamilySink, MetricKind};

pub(super) fn expose(out: &mut impl FamilySink, scrape: &Scrape<'_>) {
    let all = || scrape.receivers.iter();
    let help = "Messages that arrived or were given up, and tries that failed, by receiver.";
    out.family("pointsman_notifications_total", MetricKind::Counter, help);
    for ReceiverFigures { receiver, outcomes, .. } in all() {
        for (outcome, count) in outcomes {
            out.sample(&[("outcome", outcome), ("receiver", receiver)], *count);
        }
    }
    out.family("pointsman_notifications_pending", MetricKind::Gauge, "Messages that wait, by receiver.");
    for ReceiverFigures { receiver, pending, .. } in all() {
        out.sample(&[("receiver", receiver)], *pending);
    }
    let help = "Age of the oldest message that waits, by receiver; 0 when none does.";
    out.family("pointsman_notifications_oldest_seconds", MetricKind::Gauge, help);
    for ReceiverFigures { receiver, oldest_seconds, .. } in all() {
        out.sample(&[("receiver", receiver)], *oldest_seconds);
    }
}
