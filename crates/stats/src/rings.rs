//! Which window lies where: rings that grow, in one pool of values, of which a device has the first part too.
//!
//! The pool here is the truth; what has changed in the device's part comes out as places and their values, for it to
//! write. Places are given out as buddies, in powers of two, so that windows that come, grow and go leave no holes that
//! nothing fits into.

use std::collections::BTreeSet;

use rayon::prelude::*;

use super::MAX_WINDOW;

/// The smallest ring; each class has twice the one before.
const SMALLEST: u64 = 32;
/// The rings' sizes: 32, 64, 128, 256, 512, 1024.
const CLASSES: usize = 6;
const LARGEST: u64 = SMALLEST << (CLASSES - 1);

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
        let place = u64::from(self.head) + i;
        self.base + if place < u64::from(self.capacity) { place } else { place - u64::from(self.capacity) }
    }
}

/// All windows' values.
#[derive(Clone, Debug)]
pub struct Pool {
    values: Vec<f64>,
    /// Below this the device has the pool too.
    room: u64,
    /// Free rings of each class.
    free: [BTreeSet<u64>; CLASSES],
    /// Where the largest rings end that were ever cut.
    end: u64,
    /// Places of the device's part that have changed; some come twice.
    changed: Vec<u64>,
}

impl Pool {
    /// An empty pool, of which a device has room for the first `room` values.
    #[must_use]
    pub fn new(room: u64) -> Self {
        Self { values: Vec::new(), room, free: Default::default(), end: 0, changed: Vec::new() }
    }

    /// Whether the device has the ring too.
    #[must_use]
    pub fn is_on_device(&self, ring: Ring) -> bool {
        ring.base + u64::from(ring.capacity) <= self.room
    }

    /// From now on there is no device.
    pub fn leave_device(&mut self) {
        (self.room, self.changed) = (0, Vec::new());
    }

    /// The values of a ring, the oldest first, in two pieces.
    #[must_use]
    pub fn values(&self, ring: Ring) -> [&[f64]; 2] {
        let values = &self.values[index(ring.base)..][..ring.capacity as usize];
        let (round, oldest) = values.split_at(ring.head as usize);
        let first = oldest.len().min(ring.length as usize);
        [&oldest[..first], &round[..ring.length as usize - first]]
    }

    /// Adds values to a window, of which the newest `limit` stay, at most [`MAX_WINDOW`]. Its ring may be another then.
    ///
    /// A new window's is an empty one. It stays on the device, or comes there, as long as there is room.
    pub fn append(&mut self, ring: &mut Ring, values: &[f64], limit: usize) {
        let limit = limit.min(MAX_WINDOW);
        let values = &values[values.len().saturating_sub(limit)..];
        let kept = u64::from(ring.length).min((limit - values.len()) as u64);
        let skipped = u64::from(ring.length) - kept;
        let length = kept + values.len() as u64;
        match self.elsewhere(*ring, length) {
            None => (ring.head, ring.length) = (small(ring.place(skipped) - ring.base), small(length)),
            Some(now) => {
                for i in 0..kept {
                    self.put(now.place(i), self.values[index(ring.place(skipped + i))]);
                }
                self.remove(*ring);
                *ring = now;
            }
        }
        for (i, &value) in values.iter().enumerate() {
            self.put(ring.place(kept + i as u64), value);
        }
    }

    /// Gives the places of a ring back.
    pub fn remove(&mut self, ring: Ring) {
        if ring.capacity > 0 {
            self.give_back(ring.base, class_of(u64::from(ring.capacity)));
        }
    }

    /// Puts what has changed in the device's part since the last time into `writes`: places and their values.
    ///
    /// A place may come twice, then with the same value.
    pub fn flush(&mut self, writes: &mut Vec<(u64, f64)>) {
        self.changed.par_iter().map(|&place| (place, self.values[index(place)])).collect_into_vec(writes);
        self.changed.clear();
    }

    fn put(&mut self, place: u64, value: f64) {
        if place < self.room {
            // Nobody asks for it: once each is enough.
            if self.changed.len() >= 2 * self.values.len() {
                self.changed.sort_unstable();
                self.changed.dedup();
            }
            self.changed.push(place);
        }
        self.values[index(place)] = value;
    }

    /// The ring that a window is to have which has outgrown its own, or can come to the device.
    fn elsewhere(&mut self, ring: Ring, length: u64) -> Option<Ring> {
        let fits = length <= u64::from(ring.capacity);
        if fits && self.is_on_device(ring) {
            return None;
        }
        let class = class_of(length.max(u64::from(ring.capacity)));
        let on_device = self.take_on_device(class);
        let base = if fits { on_device? } else { on_device.unwrap_or_else(|| self.take(class)) };
        Some(Ring { base, capacity: small(SMALLEST << class), head: 0, length: small(length) })
    }

    /// A ring of this class on the device, if there is room.
    fn take_on_device(&mut self, class: usize) -> Option<u64> {
        let is_there = |class: &usize| self.free[*class].first().is_some_and(|base| *base < self.room);
        match (class..CLASSES).find(is_there) {
            Some(found) => self.cut(class, found),
            None if self.end + LARGEST <= self.room => Some(self.cut_new(class)),
            None => None,
        }
    }

    /// A ring of this class anywhere.
    fn take(&mut self, class: usize) -> u64 {
        let found = (class..CLASSES).find(|&larger| !self.free[larger].is_empty());
        found.and_then(|found| self.cut(class, found)).unwrap_or_else(|| self.cut_new(class))
    }

    /// A ring of this class, from the first free one of a class as large or larger.
    fn cut(&mut self, class: usize, found: usize) -> Option<u64> {
        let base = self.free[found].pop_first()?;
        for half in class..found {
            self.free[half].insert(base + (SMALLEST << half));
        }
        Some(base)
    }

    fn cut_new(&mut self, class: usize) -> u64 {
        let base = self.end;
        // None lies partly on the device.
        let base = if base < self.room && self.room < base + LARGEST { base + LARGEST } else { base };
        self.end = base + LARGEST;
        self.values.resize(index(self.end), 0.0);
        for half in class..CLASSES - 1 {
            self.free[half].insert(base + (SMALLEST << half));
        }
        base
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

/// A place in the pool, which is in memory.
#[expect(clippy::cast_possible_truncation, reason = "it is below the length of a vector")]
fn index(place: u64) -> usize {
    place as usize
}

#[cfg(test)]
mod tests {
    use std::collections::{HashMap, VecDeque};

    use proptest::prelude::*;

    use super::*;

    /// Not whole largest rings.
    const ROOM: u64 = 4096 + 100;

    fn append(pool: &mut Pool, mut ring: Ring, count: usize) -> Ring {
        pool.append(&mut ring, &vec![1.0; count], MAX_WINDOW);
        ring
    }

    #[test]
    fn what_was_given_back_is_whole_again() {
        let mut pool = Pool::new(ROOM);
        let placed: Vec<Ring> = (0..128).map(|_| append(&mut pool, Ring::default(), 1)).collect();
        assert!(placed.iter().all(|ring| pool.is_on_device(*ring)));
        let outside = append(&mut pool, Ring::default(), 1);
        assert!(!pool.is_on_device(outside), "there are 128 rings of 32 in 4096 places");
        for ring in placed {
            pool.remove(ring);
        }
        let outside = append(&mut pool, outside, 1);
        assert!(pool.is_on_device(outside), "it comes to the device when there is room");
        let large: Vec<Ring> = (0..4).map(|_| append(&mut pool, Ring::default(), 1024)).collect();
        assert_eq!(large.iter().filter(|ring| pool.is_on_device(**ring)).count(), 3);
    }

    #[test]
    fn a_window_that_outgrows_the_device_leaves_it() {
        let mut pool = Pool::new(1024);
        let first = append(&mut pool, Ring::default(), 40);
        let second = append(&mut pool, Ring::default(), 500);
        assert!(pool.is_on_device(first) && pool.is_on_device(second));
        let first = append(&mut pool, first, 600);
        assert!(!pool.is_on_device(first));
        assert_eq!(first.length, 640);
        let third = append(&mut pool, Ring::default(), 500);
        assert!(pool.is_on_device(third), "the place of the first is free");
    }

    #[test]
    fn changes_that_nobody_asks_for_do_not_pile_up() {
        let mut pool = Pool::new(ROOM);
        let mut ring = Ring::default();
        for _ in 0..100 {
            ring = append(&mut pool, ring, 1000);
        }
        assert!(pool.changed.len() <= 2 * pool.values.len());
    }

    #[derive(Clone, Debug)]
    enum Act {
        Append(u64, Vec<f64>, usize),
        Remove(u64),
        Flush,
    }

    fn acts() -> impl Strategy<Value = Vec<Act>> {
        let value = -1e3..1e3f64;
        let limit = prop_oneof![Just(0usize), Just(32), Just(100), Just(256), Just(1024)];
        let append = |values| (0..12u64, prop::collection::vec(value.clone(), values), limit.clone());
        let act = prop_oneof![
            6 => append(0..50).prop_map(|(w, v, l)| Act::Append(w, v, l)),
            1 => append(500..1300).prop_map(|(w, v, l)| Act::Append(w, v, l)),
            2 => (0..12u64).prop_map(Act::Remove),
            2 => Just(Act::Flush),
        ];
        prop::collection::vec(act, 1..80)
    }

    proptest! {
        #[test]
        fn windows_are_what_was_appended_and_the_device_has_its_part(acts in acts()) {
            let mut pool = Pool::new(ROOM);
            let mut device = vec![f64::NAN; index(ROOM)];
            let mut writes = Vec::new();
            let mut expected: HashMap<u64, (Ring, VecDeque<f64>)> = HashMap::new();
            for act in acts.into_iter().chain([Act::Flush]) {
                match act {
                    Act::Append(window, values, limit) => {
                        let (ring, whole) = expected.entry(window).or_default();
                        whole.extend(&values);
                        whole.drain(..whole.len().saturating_sub(limit));
                        pool.append(ring, &values, limit);
                    }
                    Act::Remove(window) => {
                        if let Some((ring, _)) = expected.remove(&window) {
                            pool.remove(ring);
                        }
                    }
                    Act::Flush => {
                        pool.flush(&mut writes);
                        for &(place, value) in writes.iter().rev() {
                            device[index(place)] = value;
                        }
                        for (ring, expected) in expected.values() {
                            if pool.is_on_device(*ring) {
                                let there = (0..u64::from(ring.length)).map(|i| device[index(ring.place(i))]);
                                prop_assert_eq!(&there.collect::<VecDeque<f64>>(), expected);
                            }
                        }
                    }
                }
                let mut taken = Vec::new();
                for (ring, expected) in expected.values() {
                    prop_assert_eq!(&pool.values(*ring).concat(), &expected.iter().copied().collect::<Vec<_>>());
                    taken.push((ring.base, ring.base + u64::from(ring.capacity)));
                }
                taken.sort_unstable();
                taken.retain(|(base, end)| base < end);
                prop_assert!(taken.windows(2).all(|pair| pair[0].1 <= pair[1].0), "rings overlap: {:?}", taken);
            }
        }
    }
}
