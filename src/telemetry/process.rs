//! Statistics of this process, from `/proc`.

use std::fs;
use std::time::Duration;

/// The unit of times in `/proc`: `USER_HZ`, which is 100 on Linux.
const TICKS_A_SECOND: f64 = 100.0;

/// Statistics of this process.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Process {
    /// User and system CPU time.
    pub cpu: Duration,
    /// Resident memory in bytes.
    pub resident_bytes: u64,
    /// Virtual memory in bytes.
    pub virtual_bytes: u64,
    /// Threads.
    pub threads: u64,
    /// Open file descriptors.
    pub open_files: usize,
    /// The limit of open file descriptors; `None` when there is none.
    pub open_files_max: Option<u64>,
    /// When it started, since the Unix epoch.
    pub started_at: Duration,
}

impl Process {
    /// Reads the statistics; `None` when `/proc` cannot be read.
    #[must_use]
    pub fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let status = fs::read_to_string("/proc/self/status").ok()?;
        let limits = fs::read_to_string("/proc/self/limits").ok()?;
        let system = fs::read_to_string("/proc/stat").ok()?;
        // Listing the directory opens one more descriptor.
        let open_files = fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1);
        Self::parse(&stat, &status, &limits, &system).map(|process| Self { open_files, ..process })
    }

    fn parse(stat: &str, status: &str, limits: &str, system: &str) -> Option<Self> {
        // The name, in parentheses, may contain any character; fields count from the state, which is the third.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let ticks = |field: usize| fields.get(field - 3)?.parse::<f64>().ok().map(|ticks| ticks / TICKS_A_SECOND);
        let kib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
        };
        let threads = status.lines().find_map(|line| line.strip_prefix("Threads:"))?.trim().parse().ok()?;
        let max = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
        let booted = system.lines().find_map(|line| line.strip_prefix("btime "))?.trim().parse::<u64>().ok()?;
        Some(Self {
            cpu: Duration::try_from_secs_f64(ticks(14)? + ticks(15)?).ok()?,
            resident_bytes: kib("VmRSS:")?,
            virtual_bytes: kib("VmSize:")?,
            threads,
            open_files: 0,
            open_files_max: max.split_ascii_whitespace().next()?.parse().ok(),
            started_at: Duration::from_secs(booted) + Duration::try_from_secs_f64(ticks(22)?).ok()?,
        })
    }
}

/// The memory limit of this process: the least of the machine's memory and the limits of its control groups, version 1
/// or 2.
#[must_use]
pub fn memory_bytes() -> u64 {
    let number = |path: &str| fs::read_to_string(path).ok()?.trim().parse::<u64>().ok();
    let groups = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
    let limits = groups.lines().filter_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_end_matches('/'));
        let (root, file) = match controllers {
            "" => ("/sys/fs/cgroup", "memory.max"),
            some if some.split(',').any(|name| name == "memory") => ("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            _ => return None,
        };
        // Inside a container the files of the group are at the root.
        number(&format!("{root}{path}/{file}")).or_else(|| number(&format!("{root}/{file}")))
    });
    let machine = fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let kib = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        Some(kib.trim().trim_end_matches("kB").trim().parse::<u64>().ok()?.saturating_mul(1024))
    });
    limits.chain(machine).min().unwrap_or(1 << 30)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194560 9 0 0 0 150 50 0 0 20 0 3 0 1000 9 9 0";
        let status = "Name:\ta) b\nVmSize:\t   2048 kB\nVmRSS:\t    1024 kB\nThreads:\t3\n";
        let limits = "Limit  Soft Limit  Hard Limit  Units\nMax open files            1024   4096   files\n";
        let process = Process::parse(stat, status, limits, "cpu 1\nbtime 1700000000\n").expect("parsed");
        assert_eq!(process.cpu, Duration::from_secs(2));
        assert_eq!((process.resident_bytes, process.virtual_bytes, process.threads), (1 << 20, 2 << 20, 3));
        assert_eq!(process.open_files_max, Some(1024));
        assert_eq!(process.started_at, Duration::from_secs(1_700_000_010));
        let unlimited = limits.replace("1024 ", "unlimited ");
        let process = Process::parse(stat, status, &unlimited, "btime 1\n").expect("parsed");
        assert_eq!(process.open_files_max, None);
        assert_eq!(Process::parse("", status, limits, "btime 1\n"), None);
    }

    #[test]
    fn reads_this_process() {
        let process = Process::read().expect("Linux");
        assert!(process.resident_bytes > 1024 && process.open_files > 0 && process.threads > 0, "{process:?}");
    }
}
