//! The backend for batches of statistics: chosen once at the start, logged, and its batches counted.

use std::sync::Arc;

use anyhow::Context as _;

use lrs_runtime::metrics;
use lrs_stats::{
    Backend, Summary, Wanted, Windows,
    accelerated::Accelerated,
    break_even::BreakEven,
    choice::DeviceChoice,
    cpu::Cpu,
    cuda::Cuda,
    device::{Absent, Failure, ON_CPU, ON_DEVICE, Witness},
};

/// The length of windows for which the log says from how many the device is used.
const SHOWN_LENGTH: usize = 256;

/// Opens the device, and measures from which batch size it is faster than the CPU. Does so off the async threads.
///
/// # Errors
/// If a GPU was asked for by its number and cannot be used.
pub(super) async fn open(choice: DeviceChoice) -> anyhow::Result<Arc<dyn Backend>> {
    let opened = tokio::task::spawn_blocking(move || choose(choice)).await;
    opened.context("the device could not be opened")?
}

fn choose(choice: DeviceChoice) -> anyhow::Result<Arc<dyn Backend>> {
    let ordinal = match choice {
        DeviceChoice::Auto => 0,
        DeviceChoice::Cpu => {
            tracing::info!(device = ON_CPU, "Statistics are computed on the CPU, as set");
            return Ok(Arc::new(OnCpu));
        }
        DeviceChoice::Cuda(ordinal) => ordinal,
    };
    match accelerated(ordinal) {
        Ok(backend) => Ok(backend),
        Err(why) if choice == DeviceChoice::Auto => {
            tracing::info!(device = ON_CPU, "Statistics are computed on the CPU: {why}");
            Ok(Arc::new(OnCpu))
        }
        Err(why) => {
            Err(anyhow::Error::new(why)
                .context(format!("statistics cannot be computed on {choice}; choose --device auto")))
        }
    }
}

fn accelerated(ordinal: usize) -> Result<Arc<dyn Backend>, Absent> {
    let mut device = Cuda::open(ordinal)?;
    let begun = tokio::time::Instant::now();
    let break_even = BreakEven::measure(&mut device, &|| begun.elapsed()).map_err(Absent::Unusable)?;
    let backend = Accelerated::new(Box::new(device), break_even, Arc::new(Counted));
    let from: Vec<String> = break_even
        .windows_of(SHOWN_LENGTH)
        .into_iter()
        .map(|(group, from)| from.map_or_else(|| format!("{group} never"), |from| format!("{group} from {from}")))
        .collect();
    tracing::info!(
        device = backend.name(),
        "Statistics are computed on {}; by the size of a batch of windows of {SHOWN_LENGTH}: {}",
        backend.name(),
        from.join(", ")
    );
    Ok(Arc::new(backend))
}

/// Shows the counters from the start.
pub(super) fn show(backend: &dyn Backend) {
    if backend.name() == ON_CPU {
        metrics::statistics_ready(&[ON_CPU]);
    } else {
        metrics::statistics_ready(&[ON_CPU, ON_DEVICE]);
    }
}

/// The CPU, with its batches counted.
struct OnCpu;

impl Backend for OnCpu {
    fn name(&self) -> &'static str {
        ON_CPU
    }

    fn summarise(&self, windows: &Windows, wanted: Wanted) -> Vec<Summary> {
        if !windows.is_empty() {
            Counted.computed(ON_CPU, windows.len());
        }
        Cpu.summarise(windows, wanted)
    }
}

/// Counts batches, and logs the loss of the device.
struct Counted;

impl Witness for Counted {
    fn computed(&self, on: &'static str, windows: usize) {
        metrics::statistics_computed(on, windows);
    }

    fn lost(&self, device: &str, failure: &Failure) {
        metrics::statistics_device_lost();
        tracing::error!(device, "{device} was lost ({failure}): its work is done on the CPU until the next start");
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_stats::device::fake::Fake;

    #[test]
    fn the_cpu_is_there_and_a_device_that_no_machine_has_is_refused_by_name() {
        assert_eq!(choose(DeviceChoice::Cpu).unwrap().name(), "cpu");
        assert!(choose(DeviceChoice::Auto).is_ok());
        let error = choose(DeviceChoice::Cuda(4096)).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("cuda:4096"), "{error}");
    }

    #[test]
    fn batches_are_counted_by_device_and_a_loss_once() {
        let handle = metrics::install().unwrap();
        let backend = Accelerated::new(Box::new(Fake::new(0, 1)), BreakEven::NEVER_CPU, Arc::new(Counted));
        show(&backend);
        let mut windows = Windows::default();
        windows.push(&[1.0, 2.0]).unwrap();
        for _ in 0..3 {
            assert_eq!(backend.summarise(&windows, Wanted::ALL).len(), 1);
        }
        let text = handle.render();
        for line in [
            "lrs_statistics_batches_total{device=\"cuda\"} 1",
            "lrs_statistics_batches_total{device=\"cpu\"} 2",
            "lrs_statistics_devices_lost_total 1",
        ] {
            assert!(text.contains(line), "no {line} in {text}");
        }
    }
}
