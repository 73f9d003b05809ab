//! When the parts of a tick of the guards are due that are not done in each.

/// How often the endpoints of a canary that may be down are tried, and those of a stable that a rollback waits for.
const TRY_EVERY_MS: u64 = 250;
/// How often the evidence is shown, unless a state changes.
const SHOW_EVERY_MS: u64 = 500;
/// How often the evidence is given to the journal's thread.
const SAVE_EVERY_MS: u64 = 1_000;

/// When each part is due, in milliseconds since the process started.
#[derive(Debug, Default)]
pub(in crate::control) struct TickSchedule {
    tries: u64,
    show: u64,
    save: u64,
}

impl TickSchedule {
    /// Whether endpoints are to be tried now.
    pub const fn are_tries_due(&mut self, now_ms: u64) -> bool {
        is_due(&mut self.tries, now_ms, TRY_EVERY_MS)
    }

    /// Whether the evidence is to be shown now.
    pub const fn is_show_due(&mut self, now_ms: u64) -> bool {
        is_due(&mut self.show, now_ms, SHOW_EVERY_MS)
    }

    /// Whether the evidence is to be saved now.
    pub const fn is_save_due(&mut self, now_ms: u64) -> bool {
        is_due(&mut self.save, now_ms, SAVE_EVERY_MS)
    }
}

const fn is_due(due_ms: &mut u64, now_ms: u64, every_ms: u64) -> bool {
    if now_ms < *due_ms {
        return false;
    }
    *due_ms = now_ms.saturating_add(every_ms);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_is_due_at_once_and_then_after_its_time() {
        let mut schedule = TickSchedule::default();
        let due: Vec<u64> = (0..=10).map(|tick| tick * 100).filter(|now_ms| schedule.are_tries_due(*now_ms)).collect();
        assert_eq!(due, [0, 300, 600, 900]);
        assert!(schedule.is_show_due(1_000) && !schedule.is_show_due(1_499) && schedule.is_show_due(1_500));
        assert!(schedule.is_save_due(1_000) && !schedule.is_save_due(1_999) && schedule.is_save_due(5_000));
    }
}
