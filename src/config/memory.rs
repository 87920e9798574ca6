//! How much memory the process may use: what its control group allows, or else what the machine has.

use std::{fs, path::Path};

/// Of the memory there is, the share that jobs in memory may have by default; the rest is for calls, batches and peaks.
const SHARE: u64 = 2;
/// What a job in memory takes, as measured with the default controller; see `docs/performance.md`.
const JOB_BYTES: u64 = 32 << 10;
/// If it cannot be found out how much memory there is.
const UNKNOWN: u64 = 2 << 30;

/// The memory that the process may use, in bytes.
pub(super) fn available() -> u64 {
    let machine = machine(&read("/proc/meminfo"));
    let group = group(&read("/proc/self/cgroup"), |path| read(Path::new("/sys/fs/cgroup").join(path)));
    machine.into_iter().chain(group).min().unwrap_or(UNKNOWN)
}

/// How many jobs are kept in memory by default.
pub(super) fn jobs(bytes: u64) -> usize {
    usize::try_from(bytes / SHARE / JOB_BYTES).unwrap_or(usize::MAX).max(1)
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

fn machine(meminfo: &str) -> Option<u64> {
    let total = meminfo.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
    let kibibytes: u64 = total.trim().strip_suffix(" kB")?.parse().ok()?;
    kibibytes.checked_mul(1024)
}

/// The lowest limit of the process's control group and those above it. `read` reads a file below `/sys/fs/cgroup`.
fn group(memberships: &str, read: impl Fn(&Path) -> String) -> Option<u64> {
    let mut lowest: Option<u64> = None;
    for line in memberships.lines() {
        let mut parts = line.splitn(3, ':').skip(1);
        let (Some(controllers), Some(path)) = (parts.next(), parts.next()) else { continue };
        let (root, file) = match controllers {
            "" => ("", "memory.max"),
            _ if controllers.split(',').any(|name| name == "memory") => ("memory", "memory.limit_in_bytes"),
            _ => continue,
        };
        // Within a container the path may be that outside of it: then the root is the container's group.
        for folder in Path::new(path.trim_start_matches('/')).ancestors() {
            let limit = read(&Path::new(root).join(folder).join(file)).trim().parse().ok();
            lowest = lowest.into_iter().chain(limit).min();
        }
    }
    lowest
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limits(files: &'static [(&'static str, &'static str)]) -> impl Fn(&Path) -> String {
        move |path| {
            let found = files.iter().find(|(name, _)| Path::new(name) == path);
            found.map(|(_, text)| (*text).to_owned()).unwrap_or_default()
        }
    }

    #[test]
    fn the_lowest_limit_above_the_process_counts() {
        let files = limits(&[("pods/memory.max", "2147483648\n"), ("pods/lrs/memory.max", "max\n")]);
        assert_eq!(group("0::/pods/lrs\n", files), Some(2 << 30));
    }

    #[test]
    fn in_a_container_the_root_is_its_own_group() {
        assert_eq!(group("0::/somewhere/outside\n", limits(&[("memory.max", "1000\n")])), Some(1000));
    }

    #[test]
    fn the_older_control_groups_have_the_limit_in_a_file_of_their_own() {
        let files = limits(&[("memory/docker/7/memory.limit_in_bytes", "500\n")]);
        assert_eq!(group("9:cpu,cpuacct:/docker/7\n4:memory:/docker/7\n", files), Some(500));
    }

    #[test]
    fn without_a_limit_the_machine_counts() {
        assert_eq!(group("0::/\n", limits(&[("memory.max", "max\n")])), None);
        assert_eq!(machine("MemTotal:       16318480 kB\nMemFree: 1 kB\n"), Some(16_318_480 * 1024));
    }
}
