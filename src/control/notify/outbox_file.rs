//! The outbox as it is saved: JSON, each notice once.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::alerts::AlertBook;
use super::notice::Notice;
use super::queue::{ReceiverQueue, WAITING_MAX};

/// The outbox as it is saved.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(in crate::control) struct SavedOutbox {
    /// The last record that was taken.
    pub(super) seen: u64,
    #[serde(serialize_with = "write_notices", deserialize_with = "read_notices")]
    notices: Vec<Arc<Notice>>,
    queues: Vec<SavedQueue>,
    #[serde(default)]
    pub(super) alerts: AlertBook,
    #[serde(default)]
    pub(super) certificates: BTreeMap<String, u64>,
}

#[derive(Clone, Debug, Serialize, Deserialize)]
struct SavedQueue {
    receiver: String,
    name: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    gone_ms: Option<u64>,
    /// Its messages, by their place among the notices.
    waiting: Vec<usize>,
}

impl SavedOutbox {
    /// The outbox with these.
    pub(super) fn new(
        seen: u64,
        queues: &BTreeMap<String, ReceiverQueue>,
        alerts: &AlertBook,
        certificates: &BTreeMap<String, u64>,
    ) -> Self {
        let (mut notices, mut places) = (Vec::new(), BTreeMap::new());
        let mut saved = Vec::new();
        for (receiver, queue) in queues {
            let mut waiting = Vec::with_capacity(queue.waiting.len());
            for notice in &queue.waiting {
                let place = *places.entry(notice.id.clone()).or_insert_with(|| {
                    notices.push(Arc::clone(notice));
                    notices.len() - 1
                });
                waiting.push(place);
            }
            if !waiting.is_empty() {
                let (receiver, name) = (receiver.clone(), queue.name.clone());
                saved.push(SavedQueue { receiver, name, gone_ms: queue.gone_ms, waiting });
            }
        }
        Self { seen, notices, queues: saved, alerts: alerts.clone(), certificates: certificates.clone() }
    }

    /// Reads the saved form.
    ///
    /// # Errors
    /// It is not of this form.
    pub(in crate::control) fn read(bytes: &[u8]) -> Result<Self, String> {
        serde_json::from_slice(bytes).map_err(|error| error.to_string())
    }

    /// The last record that was taken.
    pub(in crate::control) const fn last_taken(&self) -> u64 {
        self.seen
    }

    /// The saved form.
    pub(super) fn to_bytes(&self) -> Vec<u8> {
        // It has string keys and finite numbers only: this cannot fail.
        serde_json::to_vec(self).unwrap_or_default()
    }

    /// The queues, by the id of the receiver.
    pub(super) fn queues(&self) -> Vec<(String, ReceiverQueue)> {
        let one = |saved: &SavedQueue| {
            let found = saved.waiting.iter().filter_map(|place| self.notices.get(*place));
            let waiting: VecDeque<Arc<Notice>> = found.take(WAITING_MAX).cloned().collect();
            let (name, gone_ms) = (saved.name.clone(), saved.gone_ms);
            (saved.receiver.clone(), ReceiverQueue::of_before(name, gone_ms, waiting))
        };
        self.queues.iter().map(one).collect()
    }
}

fn write_notices<S: Serializer>(notices: &[Arc<Notice>], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(notices.iter().map(|notice| &**notice))
}

fn read_notices<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Arc<Notice>>, D::Error> {
    let notices = Vec::<Notice>::deserialize(deserializer)?;
    Ok(notices.into_iter().map(Arc::new).collect())
}
