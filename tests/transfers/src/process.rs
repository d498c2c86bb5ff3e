//! What a process takes, as Linux counts it.

use std::{fs, path::PathBuf};

use crate::Failure;

/// Clock ticks of `/proc` in a second: Linux shows so many whatever it runs on.
const TICKS_PER_S: f64 = 100.0;
/// What forgets the peak of the memory when it is written to `clear_refs`.
const FORGET_PEAK: &str = "5";

/// A process, and what memory it had when it was looked at first.
pub struct Process {
    folder: PathBuf,
    before_bytes: u64,
}

impl Process {
    /// Looks at a process.
    pub fn of(pid: u32) -> Result<Self, Failure> {
        let mut process = Self { folder: PathBuf::from(format!("/proc/{pid}")), before_bytes: 0 };
        process.before_bytes = process.status_bytes("VmRSS:")?;
        Ok(process)
    }

    /// Processor time by now, in seconds.
    pub fn cpu_s(&self) -> Result<f64, Failure> {
        let stat = fs::read_to_string(self.folder.join("stat"))?;
        // The name, in brackets, may hold anything.
        let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
        let fields: Vec<&str> = fields.split_whitespace().collect();
        let ticks = |at: usize| Ok::<f64, Failure>(fields.get(at).ok_or("stat is short")?.parse()?);
        Ok((ticks(11)? + ticks(12)?) / TICKS_PER_S)
    }

    /// Begins to look for the peak of memory anew.
    pub fn forget_peak(&self) -> Result<(), Failure> {
        Ok(fs::write(self.folder.join("clear_refs"), FORGET_PEAK)?)
    }

    /// The peak of memory since, above what the process had at first.
    pub fn growth_bytes(&self) -> Result<u64, Failure> {
        Ok(self.status_bytes("VmHWM:")?.saturating_sub(self.before_bytes))
    }

    fn status_bytes(&self, name: &str) -> Result<u64, Failure> {
        let status = fs::read_to_string(self.folder.join("status"))?;
        let line = status.lines().find_map(|line| line.strip_prefix(name)).ok_or("status is short")?;
        let kib: u64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kib * 1024)
    }
}
