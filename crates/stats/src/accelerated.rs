//! The backend with a device: large batches go to the device, small ones to the CPU. After a failure, all go to the
//! CPU.

use std::sync::{Arc, Mutex, PoisonError};

pub(super) use super::batch::unbelievable;
use super::{
    Backend, Summary, Wanted, Windows, batch,
    break_even::BreakEven,
    cpu::Cpu,
    device::{Device, ON_CPU, ON_DEVICE, Witness},
};

/// Computes on a device where that is faster, else on the CPU. Both give the same bits.
pub struct Accelerated {
    name: String,
    /// `None` once the device has failed.
    device: Mutex<Option<Box<dyn Device>>>,
    break_even: BreakEven,
    witness: Arc<dyn Witness>,
}

impl Accelerated {
    /// A backend that uses this device.
    #[must_use]
    pub fn new(device: Box<dyn Device>, break_even: BreakEven, witness: Arc<dyn Witness>) -> Self {
        Self { name: device.name().to_owned(), device: Mutex::new(Some(device)), break_even, witness }
    }

    /// What the device computed; `None` if there is no device any more.
    fn on_device(&self, windows: &Windows, wanted: Wanted) -> Option<Vec<Summary>> {
        let mut held = self.device.lock().unwrap_or_else(PoisonError::into_inner);
        match batch::on(held.as_mut()?.as_mut(), windows, wanted) {
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
}
