//! The resources that a server's process uses.

use std::time::Duration;

use tokio::time::Instant;

use crate::server::Server;

/// Ticks of a second in `/proc`.
const TICKS: f64 = 100.0;

/// A measured stretch of time.
pub struct Meter {
    process: u32,
    begun: Instant,
    used: f64,
}

impl Meter {
    pub fn begin(server: &Server) -> Self {
        let process = server.process_id();
        Self { process, begun: Instant::now(), used: cpu_seconds(process) }
    }

    pub fn elapsed(&self) -> Duration {
        self.begun.elapsed()
    }

    /// The number of processors that were busy on average.
    pub fn cores(&self) -> f64 {
        (cpu_seconds(self.process) - self.used) / self.elapsed().as_secs_f64()
    }
}

fn cpu_seconds(process: u32) -> f64 {
    let stat = read(process, "stat");
    let fields: Vec<&str> = stat.rsplit_once(')').expect("a name in brackets").1.split_whitespace().collect();
    let ticks = |index: usize| fields[index].parse::<f64>().expect("a number");
    (ticks(11) + ticks(12)) / TICKS
}

/// The memory that the process holds, in MiB.
pub fn resident_mib(server: &Server) -> f64 {
    let status = read(server.process_id(), "status");
    let held = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).expect("VmRSS");
    let kib: f64 = held.trim().trim_end_matches("kB").trim().parse().expect("a number");
    kib / 1024.0
}

fn read(process: u32, file: &str) -> String {
    std::fs::read_to_string(format!("/proc/{process}/{file}")).expect("the process is there")
}
