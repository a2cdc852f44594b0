//! What a process takes of the machine, as the kernel counts it.

use crate::servers::process::Process;
use nix::unistd::{SysconfVar, sysconf};
use std::fs;
use std::time::{Duration, Instant};

/// One look at a process.
#[derive(Clone, Copy, Debug)]
pub struct Usage {
    at: Instant,
    /// Processor time since its start, all threads.
    pub cpu: Duration,
    /// Memory that it occupies now.
    pub rss_mib: f64,
    /// The most that it ever occupied.
    pub peak_mib: f64,
}

impl Usage {
    /// Looks at a process; none: it is gone.
    pub fn of(process: Process) -> Option<Self> {
        let at = Instant::now();
        let stat = fs::read_to_string(format!("/proc/{}/stat", process.pid)).ok()?;
        // proc(5): the command's name in parentheses may hold anything; user and system time are the 12th and 13th behind.
        let mut fields = stat.get(stat.rfind(')')? + 1..)?.split_ascii_whitespace().skip(11);
        let mut ticks = || fields.next()?.parse::<u64>().ok();
        let cpu = (ticks()? + ticks()?) as f64 / ticks_per_second();
        let status = fs::read_to_string(format!("/proc/{}/status", process.pid)).ok()?;
        let mib = |name: &str| {
            let line = status.lines().find_map(|line| line.strip_prefix(name))?;
            line.split_ascii_whitespace().next()?.parse::<f64>().ok().map(|kib| kib / 1024.0)
        };
        let (rss_mib, peak_mib) = (mib("VmRSS:")?, mib("VmHWM:")?);
        Some(Self { at, cpu: Duration::from_secs_f64(cpu), rss_mib, peak_mib })
    }

    /// Percent of one core that it took since an earlier look.
    pub fn percent_since(&self, earlier: &Self) -> f64 {
        let wall = self.at.saturating_duration_since(earlier.at).as_secs_f64();
        let cpu = self.cpu.saturating_sub(earlier.cpu).as_secs_f64();
        if wall > 0.0 { cpu / wall * 100.0 } else { 0.0 }
    }
}

fn ticks_per_second() -> f64 {
    sysconf(SysconfVar::CLK_TCK).ok().flatten().map_or(100.0, |ticks| ticks as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_occupies_memory() {
        let own = Process::of_pid(std::process::id() as i32).unwrap();
        let usage = Usage::of(own).unwrap();
        assert!(usage.rss_mib > 0.5 && usage.peak_mib >= usage.rss_mib);
    }
}
