//! The demo's access log: kept small.

use std::fs::OpenOptions;
use std::path::Path;

/// It is emptied when it is larger.
const LOG_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// Empties a log that has become large: the writer appends, so it goes on from the start.
pub(super) fn keep_small(log: &Path) {
    if std::fs::metadata(log).is_ok_and(|found| found.len() > LOG_BYTES_MAX) {
        // What cannot be emptied now is tried again in a second.
        let _ = OpenOptions::new().write(true).truncate(true).open(log);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_log_is_kept_small() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("access.log");
        keep_small(&log);
        assert!(!log.exists(), "nothing is made");
        std::fs::write(&log, "a line\n").unwrap();
        keep_small(&log);
        assert_eq!(std::fs::read_to_string(&log).unwrap(), "a line\n");
        std::fs::File::options().write(true).open(&log).unwrap().set_len(LOG_BYTES_MAX + 1).unwrap();
        keep_small(&log);
        assert_eq!(std::fs::metadata(&log).unwrap().len(), 0);
    }
}
