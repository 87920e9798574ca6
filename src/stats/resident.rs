//! Windows that stay on a device from pass to pass: only new values go there, and a pass computes the windows that are due.
//!
//! The truth is here, in memory; the device holds a copy of the windows that fit into its pool. Those that do not, and after a failure
//! all of them, are computed on the CPU, with the same bits.

use std::{
    collections::{HashMap, VecDeque},
    sync::Arc,
};

use super::{
    Backend as _, MAX_WINDOW, Summary, Wanted, Windows,
    accelerated::read,
    cpu::Cpu,
    device::{Device, Failure, ON_CPU, ON_DEVICE, Witness},
    rings::{Ring, Rings},
};

/// The windows of jobs, by numbers of the caller's.
pub struct Resident {
    /// `None` once it has failed.
    device: Option<Box<dyn Device>>,
    rings: Rings,
    windows: HashMap<u64, Window>,
    /// Windows that the device does not have as they are.
    stale: Vec<u64>,
    witness: Arc<dyn Witness>,
}

struct Window {
    values: VecDeque<f64>,
    limit: usize,
    /// How many of the newest values the device does not have.
    fresh: usize,
    is_stale: bool,
}

impl Resident {
    /// No windows yet.
    #[must_use]
    pub fn new(device: Box<dyn Device>, witness: Arc<dyn Witness>) -> Self {
        let rings = Rings::new(device.room());
        Self { device: Some(device), rings, windows: HashMap::new(), stale: Vec::new(), witness }
    }

    /// Lets a window hold its newest `limit` values, at most [`MAX_WINDOW`]; a new window is empty.
    pub fn hold(&mut self, window: u64, limit: usize) {
        let limit = limit.min(MAX_WINDOW);
        let held = self.windows.entry(window).or_insert_with(|| Window {
            values: VecDeque::new(),
            limit,
            fresh: 0,
            is_stale: false,
        });
        held.limit = limit;
        held.trim();
        self.mark(window);
    }

    /// Adds values to a window that is held.
    pub fn append(&mut self, window: u64, values: &[f64]) {
        if let Some(held) = self.windows.get_mut(&window) {
            held.values.extend(values);
            held.fresh += values.len();
            held.trim();
            self.mark(window);
        }
    }

    /// Holds a window no longer.
    pub fn forget(&mut self, window: u64) {
        self.windows.remove(&window);
        self.rings.remove(window);
    }

    /// How many windows lie on the device, after the last pass.
    #[must_use]
    pub fn on_device(&self) -> usize {
        if self.device.is_some() { self.rings.len() } else { 0 }
    }

    /// The statistics of the windows that are due, in their order; `None` for those that are not held.
    pub fn summarise(&mut self, due: &[u64], wanted: Wanted) -> Vec<Option<Summary>> {
        let mut found = vec![None; due.len()];
        match self.on(due, wanted) {
            Ok(there) if !there.is_empty() => {
                self.witness.computed(ON_DEVICE, there.len());
                for (i, summary) in there {
                    found[i] = Some(summary);
                }
            }
            Ok(_) => {}
            Err(failure) => {
                if let Some(device) = self.device.take() {
                    self.witness.lost(device.name(), &failure);
                }
            }
        }
        let is_left = |i: &usize| found[*i].is_none() && self.windows.contains_key(&due[*i]);
        let left: Vec<usize> = (0..due.len()).filter(is_left).collect();
        if !left.is_empty() {
            self.witness.computed(ON_CPU, left.len());
            let batch = self.batch(left.iter().map(|&i| due[i]));
            for (i, summary) in left.into_iter().zip(Cpu.summarise(&batch, wanted)) {
                found[i] = Some(summary);
            }
        }
        found
    }

    /// Brings the device up to date, and computes there what is there: each summary behind its place in `due`.
    fn on(&mut self, due: &[u64], wanted: Wanted) -> Result<Vec<(usize, Summary)>, Failure> {
        let Some(device) = self.device.as_mut() else { return Ok(Vec::new()) };
        for window in std::mem::take(&mut self.stale) {
            let Some(held) = self.windows.get_mut(&window).filter(|held| held.is_stale) else { continue };
            let values = held.values.make_contiguous();
            let known = if self.rings.get(window).is_some() { values.len() - held.fresh } else { 0 };
            self.rings.append(window, &values[known..], values.len());
            (held.fresh, held.is_stale) = (0, false);
        }
        let writes = self.rings.flush();
        if !writes.is_empty() {
            device.write(&writes)?;
        }
        let (there, rings): (Vec<usize>, Vec<Ring>) =
            due.iter().enumerate().filter_map(|(i, &window)| Some((i, self.rings.get(window)?))).unzip();
        if there.is_empty() || wanted.is_empty() {
            return Ok(Vec::new());
        }
        let summaries = read(&device.compute(&rings, wanted)?, &rings, wanted)?;
        Ok(there.into_iter().zip(summaries).collect())
    }

    fn batch(&self, windows: impl Iterator<Item = u64>) -> Windows {
        let mut batch = Windows::default();
        for window in windows.filter_map(|window| self.windows.get(&window)) {
            let values: Vec<f64> = window.values.iter().copied().collect();
            // It holds at most MAX_WINDOW values.
            let _ = batch.push(&values);
        }
        batch
    }

    fn mark(&mut self, window: u64) {
        if let Some(held) = self.windows.get_mut(&window).filter(|held| !held.is_stale) {
            held.is_stale = true;
            if self.device.is_some() {
                self.stale.push(window);
            }
        }
    }
}

impl Window {
    fn trim(&mut self) {
        self.values.drain(..self.values.len().saturating_sub(self.limit));
        self.fresh = self.fresh.min(self.values.len());
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::stats::device::fake::{Fake, Told};

    #[derive(Clone, Debug)]
    enum Act {
        Hold(u64, usize),
        Append(u64, Vec<f64>),
        Forget(u64),
        Pass(Vec<u64>),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let value = prop_oneof![9 => -1e3..1e3f64, 1 => Just(f64::NAN)];
        let window = 0..8u64;
        let act = prop_oneof![
            2 => (window.clone(), prop_oneof![Just(32usize), Just(64), Just(700)]).prop_map(|(w, l)| Act::Hold(w, l)),
            6 => (window.clone(), prop::collection::vec(value, 0..120)).prop_map(|(w, v)| Act::Append(w, v)),
            1 => window.clone().prop_map(Act::Forget),
            4 => prop::collection::vec(window, 0..10).prop_map(Act::Pass),
        ];
        prop::collection::vec(act, 1..60)
    }

    proptest! {
        /// The pool holds two of the largest rings, so that windows leave it; the device fails at any call.
        #[test]
        fn passes_give_what_the_cpu_gives_whatever_fits_and_whenever_the_device_is_lost(
            acts in acts(),
            calls in prop_oneof![Just(usize::MAX), 0usize..12],
        ) {
            let wanted = Wanted { theil_sen: false, ..Wanted::ALL };
            let told = Arc::new(Told::default());
            let witness: Arc<dyn Witness> = told.clone();
            let mut resident = Resident::new(Box::new(Fake::new(2048, calls)), witness);
            let mut expected: HashMap<u64, (Vec<f64>, usize)> = HashMap::new();
            for act in acts {
                match act {
                    Act::Hold(window, limit) => {
                        resident.hold(window, limit);
                        let held = expected.entry(window).or_default();
                        held.1 = limit;
                        held.0.drain(..held.0.len().saturating_sub(limit));
                    }
                    Act::Append(window, values) => {
                        resident.append(window, &values);
                        if let Some((held, limit)) = expected.get_mut(&window) {
                            held.extend(values);
                            held.drain(..held.len().saturating_sub(*limit));
                        }
                    }
                    Act::Forget(window) => {
                        resident.forget(window);
                        expected.remove(&window);
                    }
                    Act::Pass(due) => {
                        let found = resident.summarise(&due, wanted);
                        let by_cpu: Vec<Option<Summary>> = due
                            .iter()
                            .map(|window| Some(super::super::cpu::summarise(&expected.get(window)?.0, wanted, &mut Vec::new())))
                            .collect();
                        prop_assert_eq!(format!("{found:?}"), format!("{by_cpu:?}"));
                        prop_assert!(resident.on_device() <= 2048 / 32);
                    }
                }
            }
            prop_assert!(told.0.lock().unwrap().1.len() <= 1);
        }
    }

    #[test]
    fn only_what_is_new_and_what_is_due_goes_to_the_device() {
        let told = Arc::new(Told::default());
        let witness: Arc<dyn Witness> = told.clone();
        // Two passes: each one write and one computation.
        let mut resident = Resident::new(Box::new(Fake::new(4096, 3)), witness);
        for window in 0..3 {
            resident.hold(window, 64);
            resident.append(window, &[1.0, 2.0, 3.0]);
        }
        resident.summarise(&[0, 2], Wanted::ALL);
        assert_eq!(resident.on_device(), 3);
        resident.summarise(&[1], Wanted::ALL);
        assert_eq!(told.0.lock().unwrap().0, [(ON_DEVICE, 2), (ON_DEVICE, 1)], "nothing was new in the second pass");
    }
}
