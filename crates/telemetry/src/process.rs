//! What a process has used of the machine, by the kernel's accounting (`/proc`, see proc(5)).

use std::{fs, io};

/// The unit of times in `/proc/PID/stat`: USER_HZ, which is 100 on every Linux that is built for servers.
const TICK_US: u64 = 10_000;
/// The unit of sizes in `/proc/PID/statm`. Larger pages exist on some ARM kernels; there this is a lower bound.
const PAGE_BYTES: u64 = 4_096;
/// The fields of `/proc/PID/stat` after the name, counted from the state: user and system time.
const USER_TIME: usize = 11;
const SYSTEM_TIME: usize = 12;

/// What a process has used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Usage {
    /// CPU time of all its threads, in microseconds.
    pub cpu_us: u64,
    /// Memory that is present, in bytes.
    pub resident_bytes: u64,
    /// Open file descriptors.
    pub open_fds: u64,
}

impl Usage {
    /// What this process has used.
    ///
    /// # Errors
    /// Where there is no `/proc`.
    pub fn of_self() -> io::Result<Self> {
        Self::read("self")
    }

    /// What another process has used.
    ///
    /// # Errors
    /// No such process, another user's, or no `/proc`.
    pub fn of(pid: u32) -> io::Result<Self> {
        Self::read(&pid.to_string())
    }

    fn read(pid: &str) -> io::Result<Self> {
        let ticks = cpu_ticks(&fs::read_to_string(format!("/proc/{pid}/stat"))?).ok_or(io::ErrorKind::InvalidData)?;
        let statm = fs::read_to_string(format!("/proc/{pid}/statm"))?;
        let pages: u64 =
            statm.split(' ').nth(1).and_then(|pages| pages.parse().ok()).ok_or(io::ErrorKind::InvalidData)?;
        let open_fds = fs::read_dir(format!("/proc/{pid}/fd"))?.count() as u64;
        Ok(Self { cpu_us: ticks * TICK_US, resident_bytes: pages * PAGE_BYTES, open_fds })
    }
}

fn cpu_ticks(stat: &str) -> Option<u64> {
    // The name stands in parentheses and may hold spaces and parentheses itself.
    let (_, fields) = stat.rsplit_once(')')?;
    let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
    let ticks = |place: usize| fields.get(place)?.parse::<u64>().ok();
    Some(ticks(USER_TIME)? + ticks(SYSTEM_TIME)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = "42 (a) b (c)) S 1 42 42 0 -1 4194560 100 0 0 0 7 5 0 0 20 0 1 0 100 1000 10";
        assert_eq!(cpu_ticks(stat), Some(12));
        assert_eq!(cpu_ticks("42 (name) S 1"), None);
    }

    #[test]
    fn this_process_has_memory_and_files() {
        let usage = Usage::of(std::process::id()).unwrap();
        assert!(usage.resident_bytes > 100_000, "{usage:?}");
        assert!(usage.open_fds >= 3, "{usage:?}");
        assert!(Usage::of(u32::MAX).is_err());
    }
}
