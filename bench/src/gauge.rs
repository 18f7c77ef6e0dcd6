//! What a process costs: on-CPU time and memory, from /proc.

use std::fs;
use std::io;
use std::path::Path;

/// The processes under observation.
pub(crate) struct Gauge {
    roots: Vec<u32>,
}

/// Memory in KiB: proportional set size (shared pages count once over all processes), resident size, largest resident size.
#[derive(Clone, Copy, Default, Debug)]
pub(crate) struct Memory {
    pub(crate) pss: u64,
    pub(crate) rss: u64,
    pub(crate) peak_rss: u64,
}

impl Gauge {
    pub(crate) fn new(roots: Vec<u32>) -> Self {
        Self { roots }
    }

    pub(crate) fn is_blind(&self) -> bool {
        self.roots.is_empty()
    }

    /// Nanoseconds on a CPU, all threads of the processes and of their descendants. A thread that ended takes its time with it.
    pub(crate) fn cpu(&self) -> u64 {
        self.processes().into_iter().map(process_cpu).sum()
    }

    pub(crate) fn memory(&self) -> Memory {
        self.processes().into_iter().fold(Memory::default(), |sum, pid| {
            let rollup = fs::read_to_string(format!("/proc/{pid}/smaps_rollup")).unwrap_or_default();
            let status = fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
            Memory {
                pss: sum.pss + kib(&rollup, "Pss:"),
                rss: sum.rss + kib(&rollup, "Rss:"),
                peak_rss: sum.peak_rss + kib(&status, "VmHWM:"),
            }
        })
    }

    pub(crate) fn all_alive(&self) -> bool {
        self.roots.iter().all(|pid| Path::new(&format!("/proc/{pid}/schedstat")).exists())
    }

    fn processes(&self) -> Vec<u32> {
        let parents: Vec<(u32, u32)> = numbers_in("/proc")
            .filter_map(|pid| Some((pid, parent_in(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)?)))
            .collect();
        let mut found = self.roots.clone();
        let mut next = 0;
        while let Some(process) = found.get(next).copied() {
            next += 1;
            for (pid, parent) in &parents {
                if *parent == process && !found.contains(pid) {
                    found.push(*pid);
                }
            }
        }
        found
    }
}

/// Nanoseconds this program spent on a CPU.
pub(crate) fn own_cpu() -> u64 {
    process_cpu(std::process::id())
}

/// Datagrams dropped for want of room at the UDP socket bound to the port.
pub(crate) fn datagrams_dropped(port: u16) -> u64 {
    ["/proc/net/udp", "/proc/net/udp6"]
        .iter()
        .filter_map(|table| fs::read_to_string(table).ok())
        .map(|table| drops_in(&table, port))
        .sum()
}

fn drops_in(table: &str, port: u16) -> u64 {
    let local = format!(":{port:04X}");
    table
        .lines()
        .skip(1)
        .filter(|line| line.split_whitespace().nth(1).is_some_and(|address| address.ends_with(&local)))
        .filter_map(|line| line.split_whitespace().last()?.parse::<u64>().ok())
        .sum()
}

fn process_cpu(pid: u32) -> u64 {
    let tasks = format!("/proc/{pid}/task");
    numbers_in(&tasks)
        .filter_map(|task| fs::read_to_string(format!("{tasks}/{task}/schedstat")).ok())
        .filter_map(|stat| stat.split_whitespace().next()?.parse::<u64>().ok())
        .sum()
}

/// The parent in a line of /proc/PID/stat; the second field, the name, may contain anything, so it is looked for behind it.
fn parent_in(stat: &str) -> Option<u32> {
    stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
}

fn kib(table: &str, key: &str) -> u64 {
    let line = table.lines().find_map(|line| line.strip_prefix(key));
    line.and_then(|rest| rest.split_whitespace().next()?.parse().ok()).unwrap_or(0)
}

fn numbers_in(directory: &str) -> impl Iterator<Item = u32> {
    let entries = fs::read_dir(directory).map(|entries| entries.collect::<io::Result<Vec<_>>>().unwrap_or_default());
    entries.unwrap_or_default().into_iter().filter_map(|entry| entry.file_name().to_str()?.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_process_is_measured() {
        let gauge = Gauge::new(vec![std::process::id()]);
        assert!(gauge.cpu() > 0 && own_cpu() > 0 && gauge.all_alive());
        let memory = gauge.memory();
        assert!(memory.rss >= memory.pss && memory.pss > 0 && memory.peak_rss >= memory.rss / 2, "{memory:?}");
    }

    #[test]
    fn proc_lines_are_read() {
        assert_eq!(parent_in("42 (a) b) (c) S 17 42 42 0"), Some(17));
        assert_eq!(kib("Rss:     120 kB\nPss:  99 kB\n", "Pss:"), 99);
        let table = "  sl  local_address rem_address st queues tr when retr uid timeout inode ref pointer drops\n\
                     1: 0100007F:3EBC 00000000:0000 07 0:0 00:00 0 0 0 9 2 0 5\n2: 0100007F:3EBD 00000000:0000 07 0:0 00:00 0 0 0 9 2 0 7\n";
        assert_eq!(drops_in(table, 16060), 5);
    }
}
