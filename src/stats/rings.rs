//! Which window lies where in a device's pool of values: rings that grow, in a bounded pool.
//!
//! Only the bookkeeping: what has to be written where comes out as [`Writes`], for a device to carry out. Places are given out as
//! buddies, in powers of two, so that windows that come, grow and go leave no holes that nothing fits into.

use std::collections::{BTreeSet, HashMap};

use super::MAX_WINDOW;

/// The smallest ring; each class has twice the one before.
const SMALLEST: u64 = 32;
/// The rings' sizes: 32, 64, 128, 256, 512, 1024.
const CLASSES: usize = 6;

/// A window in the pool: `length` values from place `head` of the `capacity` places behind `base`, going round.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ring {
    /// Where it begins in the pool.
    pub base: u64,
    /// How many values it has room for.
    pub capacity: u32,
    /// Where the oldest value is, from `base`.
    pub head: u32,
    /// How many values there are.
    pub length: u32,
}

impl Ring {
    /// As the kernels read it: `struct Ring` of `kernels/window.h`, lowest bytes first.
    #[must_use]
    pub fn words(self) -> [u64; 3] {
        [self.base, u64::from(self.capacity) | u64::from(self.head) << 32, u64::from(self.length)]
    }

    /// Where in the pool the value `i` from the oldest has its place; `i` may be past the newest.
    fn place(self, i: u64) -> u64 {
        self.base + (u64::from(self.head) + i) % u64::from(self.capacity)
    }
}

/// What a device has to do to its pool: first the values are written, then values are moved. No place is written twice, and none
/// that is moved from is written.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Writes {
    /// Values to write, each behind its place.
    pub appended: Vec<(u64, f64)>,
    /// Places to move a value from and to.
    pub moved: Vec<(u64, u64)>,
}

impl Writes {
    /// Whether there is nothing to do.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.appended.is_empty() && self.moved.is_empty()
    }
}

/// The rings of a pool, by the number of their window.
#[derive(Clone, Debug)]
pub struct Rings {
    /// Free places of each class.
    free: [BTreeSet<u64>; CLASSES],
    /// Given back since [`Rings::flush`]: still read by what is to be moved.
    freed: Vec<(u64, usize)>,
    placed: HashMap<u64, Ring>,
    writes: Writes,
}

impl Rings {
    /// An empty pool for `room` values, rounded down to whole largest rings.
    #[must_use]
    pub fn new(room: u64) -> Self {
        let largest = SMALLEST << (CLASSES - 1);
        let mut free: [BTreeSet<u64>; CLASSES] = Default::default();
        free[CLASSES - 1] = (0..room / largest).map(|i| i * largest).collect();
        Self { free, freed: Vec::new(), placed: HashMap::new(), writes: Writes::default() }
    }

    /// The ring of a window that lies in the pool.
    #[must_use]
    pub fn get(&self, window: u64) -> Option<Ring> {
        self.placed.get(&window).copied()
    }

    /// How many windows lie in the pool.
    #[must_use]
    pub fn len(&self) -> usize {
        self.placed.len()
    }

    /// Whether none does.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.placed.is_empty()
    }

    /// Adds values to a window, of which the newest `limit` stay, at most [`MAX_WINDOW`]. Only once a window between two flushes.
    ///
    /// Where there is no room the window is not in the pool afterwards, and `false` is returned.
    pub fn append(&mut self, window: u64, values: &[f64], limit: usize) -> bool {
        let limit = limit.min(MAX_WINDOW);
        let values = &values[values.len().saturating_sub(limit)..];
        let before = self.get(window).unwrap_or_default();
        let kept = u64::from(before.length).min((limit - values.len()) as u64);
        let length = kept + values.len() as u64;
        let ring = if length <= u64::from(before.capacity) {
            let skipped = u64::from(before.length) - kept;
            let head = (u64::from(before.head) + skipped) % u64::from(before.capacity.max(1));
            Ring { head: small(head), length: small(length), ..before }
        } else {
            let class = class_of(length);
            let Some(base) = self.take(class) else {
                self.remove(window);
                return false;
            };
            let ring = Ring { base, capacity: small(SMALLEST << class), head: 0, length: small(length) };
            let skipped = u64::from(before.length) - kept;
            self.writes.moved.extend((0..kept).map(|i| (before.place(skipped + i), ring.place(i))));
            self.give_back_later(before);
            ring
        };
        self.writes.appended.extend(values.iter().enumerate().map(|(i, &value)| (ring.place(kept + i as u64), value)));
        self.placed.insert(window, ring);
        true
    }

    /// Takes a window out of the pool, if it is there.
    ///
    /// Not between its [`Rings::append`] and the next flush: then its places may be written after they belong to another.
    pub fn remove(&mut self, window: u64) {
        if let Some(ring) = self.placed.remove(&window) {
            self.give_back_later(ring);
        }
    }

    /// What there is to do since the last time. The caller does it before anything else is asked of the pool.
    pub fn flush(&mut self) -> Writes {
        for (base, class) in std::mem::take(&mut self.freed) {
            self.give_back(base, class);
        }
        std::mem::take(&mut self.writes)
    }

    fn give_back_later(&mut self, ring: Ring) {
        if ring.capacity > 0 {
            self.freed.push((ring.base, class_of(u64::from(ring.capacity))));
        }
    }

    /// A place of this class, cut from a larger one if need be.
    fn take(&mut self, class: usize) -> Option<u64> {
        let found = (class..CLASSES).find(|&larger| !self.free[larger].is_empty())?;
        let base = self.free[found].pop_first()?;
        for half in class..found {
            self.free[half].insert(base + (SMALLEST << half));
        }
        Some(base)
    }

    /// Gives a place back, and joins it with its other half where that is free too.
    fn give_back(&mut self, mut base: u64, mut class: usize) {
        while class + 1 < CLASSES && self.free[class].remove(&(base ^ SMALLEST << class)) {
            base &= !(SMALLEST << class);
            class += 1;
        }
        self.free[class].insert(base);
    }
}

/// The smallest class that has room for so many values.
fn class_of(length: u64) -> usize {
    (0..CLASSES - 1).find(|&class| SMALLEST << class >= length).unwrap_or(CLASSES - 1)
}

/// Lengths and places within a ring: at most [`MAX_WINDOW`].
#[expect(clippy::cast_possible_truncation, reason = "at most MAX_WINDOW")]
fn small(count: u64) -> u32 {
    count as u32
}

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;

    use proptest::prelude::*;

    use super::*;

    const ROOM: u64 = 4096;

    /// Does the writes in the order that a device does.
    fn carry_out(pool: &mut [f64], writes: &Writes) {
        let place = |place: u64| usize::try_from(place).unwrap();
        let mut written = BTreeSet::new();
        for &(to, value) in &writes.appended {
            assert!(written.insert(to), "place {to} is written twice");
            pool[place(to)] = value;
        }
        for &(_, to) in &writes.moved {
            assert!(written.insert(to), "place {to} is written twice");
        }
        for &(from, to) in &writes.moved {
            assert!(!writes.moved.iter().any(|&(_, other)| other == from), "place {from} is read and written");
            pool[place(to)] = pool[place(from)];
        }
    }

    fn values(pool: &[f64], ring: Ring) -> Vec<f64> {
        (0..u64::from(ring.length)).map(|i| pool[usize::try_from(ring.place(i)).unwrap()]).collect()
    }

    #[test]
    fn what_was_given_back_is_whole_again() {
        let mut rings = Rings::new(ROOM);
        for window in 0..128 {
            assert!(rings.append(window, &[1.0], 32));
        }
        assert!(!rings.append(128, &[1.0], 32), "there are 128 rings of 32 in 4096 places");
        for window in 0..128 {
            rings.remove(window);
        }
        assert!(!rings.append(0, &[1.0], 32), "what is given back may still be read until the flush");
        rings.flush();
        for window in 0..4 {
            assert!(rings.append(window, &[1.0; 1024], 1024));
        }
        assert!(!rings.append(4, &[1.0], 32));
    }

    #[test]
    fn a_window_that_outgrows_the_pool_leaves_it() {
        let mut rings = Rings::new(1024);
        assert!(rings.append(1, &[1.0; 40], 1024) && rings.append(2, &[1.0; 500], 1024));
        rings.flush();
        assert!(!rings.append(1, &[1.0; 600], 1024));
        assert_eq!((rings.get(1), rings.len()), (None, 1));
        rings.flush();
        assert!(rings.append(3, &[1.0; 500], 1024), "its place is free");
    }

    #[derive(Clone, Debug)]
    enum Act {
        Append(u64, Vec<f64>, usize),
        Remove(u64),
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let value = -1e3..1e3f64;
        let limit = prop_oneof![Just(32usize), Just(100), Just(256), Just(1024)];
        let act = prop_oneof![
            6 => (0..12u64, prop::collection::vec(value.clone(), 0..50), limit.clone()).prop_map(|(w, v, l)| Act::Append(w, v, l)),
            1 => (0..12u64, prop::collection::vec(value, 500..1300), limit).prop_map(|(w, v, l)| Act::Append(w, v, l)),
            2 => (0..12u64).prop_map(Act::Remove),
        ];
        prop::collection::vec(act, 1..80)
    }

    proptest! {
        #[test]
        fn windows_in_the_pool_are_what_was_appended(acts in acts(), a_batch in 1usize..6) {
            let mut rings = Rings::new(ROOM);
            let mut pool = vec![f64::NAN; usize::try_from(ROOM).unwrap()];
            let mut expected: HashMap<u64, VecDeque<f64>> = HashMap::new();
            for batch in acts.chunks(a_batch) {
                let mut touched = BTreeSet::new();
                for act in batch {
                    let (Act::Append(window, ..) | Act::Remove(window)) = act;
                    if !touched.insert(*window) {
                        continue;
                    }
                    match act {
                        Act::Append(window, values, limit) => {
                            let whole = expected.entry(*window).or_default();
                            whole.extend(values);
                            whole.drain(..whole.len().saturating_sub(*limit));
                            if !rings.append(*window, values, *limit) {
                                expected.remove(window);
                            }
                        }
                        Act::Remove(window) => {
                            rings.remove(*window);
                            expected.remove(window);
                        }
                    }
                }
                carry_out(&mut pool, &rings.flush());
                prop_assert_eq!(rings.len(), expected.len());
                let mut taken = Vec::new();
                for (window, expected) in &expected {
                    let ring = rings.get(*window).unwrap();
                    prop_assert_eq!(values(&pool, ring), expected.iter().copied().collect::<Vec<_>>());
                    taken.push((ring.base, ring.base + u64::from(ring.capacity)));
                }
                taken.sort_unstable();
                prop_assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "rings overlap: {:?}", taken);
                prop_assert!(taken.last().is_none_or(|&(_, end)| end <= ROOM));
            }
        }
    }
}
