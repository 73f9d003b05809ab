//! Waiting for events that a test can observe, never for a fixed time.

use std::time::Duration;

use pointsman::clock::Clock;

/// How long a test waits for an event. Far more than any event takes, also on a busy machine.
pub const PATIENCE: Duration = Duration::from_mins(1);
const LOOK_EVERY: Duration = Duration::from_millis(2);

/// Waits until `look` returns a value.
#[track_caller]
pub fn until<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let deadline = Clock.now() + PATIENCE;
    for looks in 1_u64.. {
        if let Some(found) = look() {
            return found;
        }
        assert!(Clock.now() < deadline, "waited {PATIENCE:?} and looked {looks} times in vain: {what}");
        std::thread::sleep(LOOK_EVERY);
    }
    unreachable!("there is always another number")
}
