//! The backend that has a device: batches large enough go there, the others and all after a failure to the CPU.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    Backend, Summary, Wanted, Windows,
    break_even::BreakEven,
    cpu::Cpu,
    device::{Device, Failure, ON_CPU, ON_DEVICE, Witness},
    record::Layout,
    rings::Ring,
};

/// Computes on a device where that pays and on the CPU elsewhere. The bits do not tell which.
pub struct Accelerated {
    name: String,
    /// `None` once it has failed.
    device: Mutex<Option<Box<dyn Device>>>,
    break_even: BreakEven,
    witness: Arc<dyn Witness>,
}

impl Accelerated {
    /// A backend on this device.
    #[must_use]
    pub fn new(device: Box<dyn Device>, break_even: BreakEven, witness: Arc<dyn Witness>) -> Self {
        Self { name: device.name().to_owned(), device: Mutex::new(Some(device)), break_even, witness }
    }

    /// What the device found, or `None` if there is none any more.
    fn on_device(&self, windows: &Windows, wanted: Wanted) -> Option<Vec<Summary>> {
        let mut held = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        match on(held.as_mut()?.as_mut(), windows, wanted) {
            Ok(found) => Some(found),
            Err(failure) => {
                *held = None;
                self.witness.lost(&self.name, &failure);
                None
            }
        }
    }
}

impl Backend for Accelerated {
    fn name(&self) -> &str {
        &self.name
    }

    fn summarise(&self, windows: &Windows, wanted: Wanted) -> Vec<Summary> {
        if windows.is_empty() {
            return Vec::new();
        }
        let there = self.break_even.on_device(windows, wanted);
        let found = if there.is_empty() { None } else { self.on_device(windows, there) };
        let Some(found) = found else {
            self.witness.computed(ON_CPU, windows.len());
            return Cpu.summarise(windows, wanted);
        };
        self.witness.computed(ON_DEVICE, windows.len());
        if there == wanted {
            return found;
        }
        self.witness.computed(ON_CPU, windows.len());
        let rest = Wanted {
            linear: wanted.linear && !there.linear,
            order: wanted.order && !there.order,
            mann_kendall: wanted.mann_kendall && !there.mann_kendall,
            theil_sen: wanted.theil_sen && !there.theil_sen,
        };
        found.into_iter().zip(Cpu.summarise(windows, rest)).map(|(found, rest)| found.or(rest)).collect()
    }
}

/// The statistics of a batch that is brought along.
pub(super) fn on(device: &mut dyn Device, windows: &Windows, wanted: Wanted) -> Result<Vec<Summary>, Failure> {
    let rings: Vec<Ring> = (0..windows.len())
        .filter_map(|i| windows.range(i))
        .map(|range| {
            // At most MAX_WINDOW.
            let length = u32::try_from(range.len()).unwrap_or(u32::MAX);
            Ring { base: range.start as u64, capacity: length, head: 0, length }
        })
        .collect();
    let mut rows = Vec::new();
    device.compute_values(windows.values(), &rings, wanted, &mut rows)?;
    read(&rows, &rings, wanted)
}

/// The summaries that rows stand for.
fn read(rows: &[u64], rings: &[Ring], wanted: Wanted) -> Result<Vec<Summary>, Failure> {
    let layout = Layout::new(wanted);
    let summaries: Option<Vec<Summary>> =
        rows.chunks_exact(layout.stride).zip(rings).map(|(row, ring)| layout.read(row, ring.length as usize)).collect();
    summaries.filter(|summaries| summaries.len() == rings.len()).ok_or_else(unbelievable)
}

/// The device gave rows that can not be these windows'.
pub(super) fn unbelievable() -> Failure {
    Failure { call: "read", problem: "the rows are not of these windows".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::fake::{Fake, Told};

    fn batch() -> Windows {
        let mut windows = Windows::default();
        for window in [&[][..], &[1.0], &[3.0, f64::NAN, 2.0, -0.0, 2.0], &[1.0; 40], &[f64::NAN]] {
            windows.push(window).unwrap();
        }
        windows
    }

    #[test]
    fn a_device_that_fails_at_any_call_changes_nothing_but_where_it_is_computed() {
        let expected = format!("{:?}", Cpu.summarise(&batch(), Wanted::ALL));
        for calls in 0..4 {
            let told = Arc::new(Told::default());
            let witness: Arc<dyn Witness> = told.clone();
            let backend = Accelerated::new(Box::new(Fake::new(0, calls)), BreakEven::NEVER_CPU, witness);
            for _ in 0..3 {
                assert_eq!(format!("{:?}", backend.summarise(&batch(), Wanted::ALL)), expected);
            }
            let (computed, lost) = &*told.0.lock().unwrap();
            let on_device = computed.iter().filter(|(on, _)| *on == ON_DEVICE).count();
            assert_eq!((computed.len(), on_device), (3, calls.min(3)));
            assert_eq!(lost.len(), usize::from(calls < 3), "it is told once: {lost:?}");
        }
    }

    #[test]
    fn rows_that_are_not_of_the_batch_are_not_believed() {
        let ring = Ring { length: 2, ..Ring::default() };
        let wanted = Wanted { mann_kendall: true, ..Wanted::default() };
        assert!(read(&[2, 1, 0, 18], &[ring], wanted).is_ok());
        assert!(read(&[3, 1, 0, 18], &[ring], wanted).is_err());
        assert!(read(&[2, 1, 0, 18], &[ring, ring], wanted).is_err());
    }
}
