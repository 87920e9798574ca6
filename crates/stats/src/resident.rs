//! Windows that stay on a device from pass to pass: only new values go there, and a pass computes the windows that are
//! due.
//!
//! The truth is here, in memory; the device has the first part of it. Windows that do not fit there, and after a
//! failure all of them, are computed on the CPU, with the same bits.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use rayon::prelude::*;
use slotmap::SlotMap;

use super::{
    Backend as _, MAX_WINDOW, Summary, Wanted, Windows,
    accelerated::unbelievable,
    cpu::Cpu,
    device::{Device, Failure, ON_CPU, ON_DEVICE, Witness},
    record::Layout,
    rings::{Pool, Ring},
};

slotmap::new_key_type! {
    /// A window that is held. Once it is forgotten this is no window's any more.
    pub struct WindowId;
}

/// The windows of jobs.
pub struct Resident {
    /// `None` once it has failed.
    device: Option<Box<dyn Device>>,
    pool: Pool,
    windows: SlotMap<WindowId, Window>,
    witness: Arc<dyn Witness>,
    /// Memory that each pass needs again.
    pass: Pass,
}

struct Window {
    ring: Ring,
    limit: usize,
}

#[derive(Default)]
struct Pass {
    writes: Vec<(u64, f64)>,
    /// Of the windows that are due and on the device.
    rings: Vec<Ring>,
    /// For each window that is due its place in `rings`.
    places: Vec<Option<usize>>,
    rows: Vec<u64>,
}

impl Resident {
    /// No windows yet.
    #[must_use]
    pub fn new(device: Box<dyn Device>, witness: Arc<dyn Witness>) -> Self {
        let pool = Pool::new(device.room());
        Self { device: Some(device), pool, windows: SlotMap::with_key(), witness, pass: Pass::default() }
    }

    /// A new window, empty, which is to hold its newest `limit` values, at most [`MAX_WINDOW`].
    pub fn hold(&mut self, limit: usize) -> WindowId {
        self.windows.insert(Window { ring: Ring::default(), limit: limit.min(MAX_WINDOW) })
    }

    /// Lets a window hold its newest `limit` values from now on, at most [`MAX_WINDOW`].
    pub fn resize(&mut self, window: WindowId, limit: usize) {
        if let Some(held) = self.windows.get_mut(window) {
            held.limit = limit.min(MAX_WINDOW);
        }
        self.append(window, &[]);
    }

    /// Adds values to a window that is held.
    pub fn append(&mut self, window: WindowId, values: &[f64]) {
        if let Some(held) = self.windows.get_mut(window) {
            self.pool.append(&mut held.ring, values, held.limit);
        }
    }

    /// Holds a window no longer.
    pub fn forget(&mut self, window: WindowId) {
        if let Some(held) = self.windows.remove(window) {
            self.pool.remove(held.ring);
        }
    }

    /// How many windows lie on the device, once what is new has been written there.
    #[must_use]
    pub fn on_device(&self) -> usize {
        let is_there = |held: &&Window| self.device.is_some() && self.pool.is_on_device(held.ring);
        self.windows.values().filter(is_there).count()
    }

    /// Puts the statistics of the windows that are due into `found`, in their order; `None` for those that are not
    /// held.
    pub fn summarise(&mut self, due: &[WindowId], wanted: Wanted, found: &mut Vec<Option<Summary>>) {
        found.clear();
        match self.on(due, wanted, found) {
            Ok(there) if there == due.len() => return,
            Ok(_) => {}
            Err(failure) => {
                found.clear();
                self.pool.leave_device();
                if let Some(device) = self.device.take() {
                    self.witness.lost(device.name(), &failure);
                }
            }
        }
        found.resize(due.len(), None);
        let is_left = |i: &usize| found[*i].is_none() && self.windows.contains_key(due[*i]);
        let left: Vec<usize> = (0..due.len()).filter(is_left).collect();
        if !left.is_empty() {
            self.witness.computed(ON_CPU, left.len());
            let batch = self.batch(left.iter().map(|&i| due[i]));
            for (i, summary) in left.into_iter().zip(Cpu.summarise(&batch, wanted)) {
                found[i] = Some(summary);
            }
        }
    }

    /// Brings the device up to date, and computes there what is there. Returns for how many windows; for none `found`
    /// stays empty.
    fn on(&mut self, due: &[WindowId], wanted: Wanted, found: &mut Vec<Option<Summary>>) -> Result<usize, Failure> {
        let Some(device) = self.device.as_mut() else { return Ok(0) };
        let Pass { writes, rings, places, rows } = &mut self.pass;
        self.pool.flush(writes);
        if !writes.is_empty() {
            device.write(writes)?;
        }
        rings.clear();
        places.clear();
        for &window in due {
            let ring = self.windows.get(window).map(|held| held.ring).filter(|ring| self.pool.is_on_device(*ring));
            places.push(ring.map(|_| rings.len()));
            rings.extend(ring);
        }
        if rings.is_empty() || wanted.is_empty() {
            return Ok(0);
        }
        device.compute(rings, wanted, rows)?;
        let layout = Layout::new(wanted);
        let believable = AtomicBool::new(rows.len() == rings.len() * layout.stride);
        let summary = |place: &Option<usize>| {
            let place = (*place)?;
            let row = rows.chunks_exact(layout.stride).nth(place);
            let summary = row.and_then(|row| layout.read(row, rings[place].length as usize));
            if summary.is_none() {
                believable.store(false, Ordering::Relaxed);
            }
            summary
        };
        places.par_iter().map(summary).collect_into_vec(found);
        if !believable.into_inner() {
            return Err(unbelievable());
        }
        self.witness.computed(ON_DEVICE, rings.len());
        Ok(rings.len())
    }

    fn batch(&self, windows: impl Iterator<Item = WindowId>) -> Windows {
        let mut batch = Windows::default();
        for held in windows.filter_map(|window| self.windows.get(window)) {
            // It holds at most MAX_WINDOW values.
            let _ = batch.push(&self.pool.values(held.ring).concat());
        }
        batch
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;
    use crate::device::fake::{Fake, Told};

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

    /// That of a window that is held, of one that was, or of none that ever was.
    fn id(ids: &HashMap<u64, WindowId>, window: u64) -> WindowId {
        ids.get(&window).copied().unwrap_or_default()
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
            let mut ids: HashMap<u64, WindowId> = HashMap::new();
            let mut found = Vec::new();
            let mut expected: HashMap<u64, (Vec<f64>, usize)> = HashMap::new();
            for act in acts {
                match act {
                    Act::Hold(window, limit) => {
                        match ids.get(&window).filter(|_| expected.contains_key(&window)) {
                            Some(id) => resident.resize(*id, limit),
                            None => drop(ids.insert(window, resident.hold(limit))),
                        }
                        let held = expected.entry(window).or_default();
                        held.1 = limit;
                        held.0.drain(..held.0.len().saturating_sub(limit));
                    }
                    Act::Append(window, values) => {
                        resident.append(id(&ids, window), &values);
                        if let Some((held, limit)) = expected.get_mut(&window) {
                            held.extend(values);
                            held.drain(..held.len().saturating_sub(*limit));
                        }
                    }
                    Act::Forget(window) => {
                        resident.forget(id(&ids, window));
                        expected.remove(&window);
                    }
                    Act::Pass(due) => {
                        let held: Vec<WindowId> = due.iter().map(|window| id(&ids, *window)).collect();
                        resident.summarise(&held, wanted, &mut found);
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
        let held = [(); 3].map(|()| resident.hold(64));
        for window in held {
            resident.append(window, &[1.0, 2.0, 3.0]);
        }
        let mut found = Vec::new();
        resident.summarise(&[held[0], held[2]], Wanted::ALL, &mut found);
        assert_eq!(resident.on_device(), 3);
        resident.summarise(&held[1..2], Wanted::ALL, &mut found);
        assert_eq!(told.0.lock().unwrap().0, [(ON_DEVICE, 2), (ON_DEVICE, 1)], "nothing was new in the second pass");
    }
}
