//! Records that were made before, page by page.

use anyhow::anyhow;
use serde_json::Value;

use crate::cli::admin::{AdminEndpoint, FetchOptions};

/// Records of a page.
const PAGE: u64 = 1_000;

/// Passes each record after `after` to `each`, until it returns false. Returns the last sequence number; nothing when
/// `each` has ended it.
pub(super) async fn pages(
    admin: &AdminEndpoint,
    after: u64,
    each: &mut dyn FnMut(&Value) -> anyhow::Result<bool>,
) -> anyhow::Result<Option<u64>> {
    let mut after = after;
    loop {
        let answer = admin.ask(&format!("/v1/journal?after={after}&limit={PAGE}"), FetchOptions::get()).await?;
        let page = answer.page()?;
        let records = page["records"].as_array();
        let records = records.ok_or_else(|| anyhow!("{} answers without records", answer.place))?;
        for record in records {
            if !each(record)? {
                return Ok(None);
            }
        }
        let last = records.last().and_then(|record| record["seq"].as_u64()).filter(|last| *last > after);
        match last {
            Some(last) => after = last,
            None => return Ok(Some(after)),
        }
    }
}

/// The newest sequence number; nothing when it is not known.
pub async fn newest(admin: &AdminEndpoint) -> Option<u64> {
    let answer = admin.ask("/v1/kill", FetchOptions::get()).await.ok()?;
    answer.json()?["seq"].as_u64()
}
