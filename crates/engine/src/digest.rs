//! A whole history in short, however long it is: bounded in memory, and continued from record to record, so that none
//! is read twice.

use std::{
    collections::HashMap,
    ops::RangeInclusive,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use super::{
    health::{self, FlatStretch},
    replay::Replayer,
    timeline::Timeline,
};
use lrs_model::{name::JobId, telemetry::Sample};
use lrs_stats::extremes::Extremes;

/// Points that plateaus are looked for in.
const PLATEAU_POINTS: usize = 4096;
/// Stretches at another rate than told. If there are more, the nearest neighbours are joined.
const STRETCHES: usize = 1000;
/// Bytes of digests that are kept.
const CACHED_BYTES: usize = 64 << 20;

/// Where the rates come from that the trainer was told for the steps of a history.
pub enum RatesFrom {
    /// The timeline of the attempt, which runs.
    Live,
    /// A replay of the records as they are read: the attempt is over, or its timeline has forgotten moves.
    Replayed(Box<Replayer>),
}

/// A history in short.
pub struct Digest {
    /// The end of the records that are in it.
    next: u64,
    losses: Extremes,
    off_told: Vec<RangeInclusive<u64>>,
    /// Whether the newest record with a rate ran at another rate than told.
    is_off: bool,
    /// `None` once all records of an attempt that is over have been taken.
    rates: Option<RatesFrom>,
    is_over: bool,
    plateaus: Option<Vec<FlatStretch>>,
}

impl Digest {
    /// A digest of no records yet, of an attempt that runs or `is_over`.
    #[must_use]
    pub fn new(rates: RatesFrom, is_over: bool) -> Self {
        let losses = Extremes::new(PLATEAU_POINTS);
        Self { next: 0, losses, off_told: Vec::new(), is_off: false, rates: Some(rates), is_over, plateaus: None }
    }

    /// Records from here on are not in it.
    #[must_use]
    pub fn next(&self) -> u64 {
        self.next
    }

    /// Whether there will be no more records.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.rates.is_none()
    }

    /// Whether it can take the next records of an attempt that `is_over`, or that runs under `timeline`.
    fn can_go_on(&self, timeline: Option<&Timeline>) -> bool {
        let is_live = matches!(self.rates, Some(RatesFrom::Live));
        let knows_rates = |timeline: &Timeline| !is_live || timeline.known_from() <= self.next;
        self.is_over == timeline.is_none() && timeline.is_none_or(knows_rates)
    }

    /// Takes the next records and passes over those that are in it already. `timeline` is that of an attempt that runs.
    pub fn take(&mut self, records: &[Sample], timeline: Option<&Timeline>) {
        if let (Some(RatesFrom::Replayed(replayer)), Some(timeline)) = (&mut self.rates, timeline) {
            replayer.follow(timeline);
        }
        let known = records.partition_point(|record| record.step < self.next);
        for record in &records[known..] {
            let timeline = match &self.rates {
                Some(RatesFrom::Live) => timeline.filter(|timeline| timeline.known_from() <= record.step),
                Some(RatesFrom::Replayed(replayer)) => Some(replayer.timeline()),
                None => None,
            };
            if let (Some(used), Some(timeline)) = (record.learning_rate, timeline) {
                self.take_rate(record.step, is_off(timeline, record.step, used));
            }
            if let Some(RatesFrom::Replayed(replayer)) = &mut self.rates {
                replayer.take(record);
            }
            if let Some(loss) = record.loss {
                self.losses.push(record.step, loss);
            }
            self.next = record.step + 1;
            self.plateaus = None;
        }
    }

    fn take_rate(&mut self, step: u64, is_off: bool) {
        match self.off_told.last_mut() {
            Some(stretch) if is_off && self.is_off => *stretch = *stretch.start()..=step,
            _ if is_off => self.off_told.push(step..=step),
            _ => {}
        }
        self.is_off = is_off;
        if self.off_told.len() > 2 * STRETCHES {
            self.off_told = joined(&self.off_told, STRETCHES);
        }
    }

    /// All records of an attempt that is over have been taken.
    pub fn finish(&mut self) {
        if self.is_over {
            self.rates = None;
        }
    }

    /// The stretches in which the loss did not fall, and those that ran at another rate than told.
    pub fn shown(&mut self) -> (Vec<FlatStretch>, Vec<RangeInclusive<u64>>) {
        let losses = &self.losses;
        let plateaus = self.plateaus.get_or_insert_with(|| {
            let (steps, losses) = losses.clone().into_line();
            health::plateaus(&steps, &losses)
        });
        (plateaus.clone(), joined(&self.off_told, STRETCHES))
    }

    fn bytes(&self) -> usize {
        let of_plateau = |plateau: &FlatStretch| size_of::<FlatStretch>() + plateau.reason.capacity();
        let plateaus: usize = self.plateaus.iter().flatten().map(of_plateau).sum();
        size_of::<Self>() + self.losses.bytes() + self.off_told.capacity() * size_of::<RangeInclusive<u64>>() + plateaus
    }
}

/// Whether the rate that a step `used` differs from the one told to its first group, beyond single precision. Trainers
/// do not report the rates of other groups.
#[must_use]
pub fn is_off(timeline: &Timeline, step: u64, used: f64) -> bool {
    let directive = timeline.directive_at(step);
    let differs = |told: f64| (told - used).abs() > 1e-6 * told.abs();
    directive.rates.first().is_some_and(|told| differs(told.learning_rate))
}

/// At most so many stretches, the nearest neighbours joined.
fn joined(stretches: &[RangeInclusive<u64>], most: usize) -> Vec<RangeInclusive<u64>> {
    let Some(too_many) = stretches.len().checked_sub(most).filter(|count| *count > 0) else {
        return stretches.to_vec();
    };
    let gap = |pair: &[RangeInclusive<u64>]| pair[1].start() - pair[0].end();
    let mut gaps: Vec<u64> = stretches.windows(2).map(gap).collect();
    let (_, widest, _) = gaps.select_nth_unstable(too_many - 1);
    let widest = *widest;
    let mut joined = vec![stretches[0].clone()];
    for pair in stretches.windows(2) {
        match joined.last_mut() {
            Some(last) if gap(pair) <= widest => *last = *last.start()..=*pair[1].end(),
            _ => joined.push(pair[1].clone()),
        }
    }
    joined
}

/// A digest that several may want at once.
pub struct Slot {
    /// Held by the call that reads for it.
    pub turn: tokio::sync::Mutex<()>,
    digest: Mutex<Digest>,
}

impl Slot {
    /// The digest. Not to be held across an await.
    pub fn digest(&self) -> MutexGuard<'_, Digest> {
        self.digest.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// The digests that were asked for last, by job and attempt, as far as there is room.
#[derive(Default)]
pub struct Digests(Mutex<Kept>);

#[derive(Default)]
struct Kept {
    slots: HashMap<(JobId, u32), Used>,
    uses: u64,
}

struct Used {
    slot: Arc<Slot>,
    last: u64,
    bytes: usize,
}

impl Digests {
    /// The digest of an attempt that runs under `timeline`, or that is over. A digest that was begun while its attempt
    /// ran is not used after its end, and none is used that cannot tell the rates of the next records.
    pub fn get(&self, key: (JobId, u32), timeline: Option<&Timeline>) -> Option<Arc<Slot>> {
        let mut kept = self.lock();
        kept.uses += 1;
        let now = kept.uses;
        let found = kept.slots.get_mut(&key)?;
        if !found.slot.digest().can_go_on(timeline) {
            return None;
        }
        found.last = now;
        Some(Arc::clone(&found.slot))
    }

    /// Keeps a new digest, unless another call has just begun one.
    pub fn begin(&self, key: (JobId, u32), digest: Digest, timeline: Option<&Timeline>) -> Arc<Slot> {
        if let Some(slot) = self.get(key, timeline) {
            return slot;
        }
        let bytes = digest.bytes();
        let slot = Arc::new(Slot { turn: tokio::sync::Mutex::default(), digest: Mutex::new(digest) });
        let mut kept = self.lock();
        let last = kept.uses;
        kept.slots.insert(key, Used { slot: Arc::clone(&slot), last, bytes });
        slot
    }

    /// Notes how large a digest has become, and drops the least recently used digests where there is no room.
    pub fn count(&self, key: (JobId, u32), slot: &Slot) {
        let bytes = slot.digest().bytes();
        let mut kept = self.lock();
        if let Some(used) = kept.slots.get_mut(&key) {
            used.bytes = bytes;
        }
        while kept.slots.values().map(|used| used.bytes).sum::<usize>() > CACHED_BYTES {
            let oldest = kept.slots.iter().min_by_key(|(_, used)| used.last).map(|(key, _)| *key);
            let Some(oldest) = oldest else { return };
            kept.slots.remove(&oldest);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Kept> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use uuid::Uuid;

    use super::*;
    use lrs_model::spec::{Group, Spec};

    fn timeline() -> Timeline {
        let group = Group {
            name: "default".to_owned(),
            base_lr: 1.0,
            base_momentum: None,
            base_weight_decay: None,
            schedule: None,
        };
        Timeline::try_new(&Spec { groups: vec![group], ..Spec::default() }, []).unwrap()
    }

    fn record(step: u64, learning_rate: f64) -> Sample {
        Sample { loss: Some(1.0), learning_rate: Some(learning_rate), ..Sample::new(step) }
    }

    #[test]
    fn one_step_of_many_that_ran_at_another_rate_is_found_whatever_the_pieces() {
        let timeline = timeline();
        let records: Vec<Sample> =
            (0..100_000).map(|step| record(step, if step == 77_777 { 0.5 } else { 1.0 })).collect();
        let mut digest = Digest::new(RatesFrom::Live, false);
        for piece in records.chunks(999) {
            digest.take(piece, Some(&timeline));
            // Once more: a repeat changes nothing.
            digest.take(piece, Some(&timeline));
        }
        assert_eq!((digest.next(), digest.shown().1), (100_000, vec![77_777..=77_777]));
    }

    #[test]
    fn stretches_are_bounded_and_none_is_left_out() {
        let timeline = timeline();
        let mut digest = Digest::new(RatesFrom::Live, false);
        for step in 0..50_000 {
            digest.take(&[record(step, if step % 2 == 0 { 0.5 } else { 1.0 })], Some(&timeline));
        }
        let (_, off) = digest.shown();
        assert!(off.len() <= STRETCHES, "{}", off.len());
        assert_eq!((*off[0].start(), *off[off.len() - 1].end()), (0, 49_998));
    }

    #[test]
    fn the_nearest_are_joined() {
        assert_eq!(joined(&[0..=1, 3..=4, 100..=100, 105..=110], 2), [0..=4, 100..=110]);
        assert_eq!(joined(&[0..=1], 2), [0..=1]);
    }

    #[test]
    fn the_oldest_digests_leave_when_there_is_no_room() {
        let (digests, timeline) = (Digests::default(), timeline());
        let keys: Vec<_> = (0..400).map(|number| (JobId(Uuid::from_u128(number)), 1)).collect();
        let records: Vec<Sample> = (0..5000).map(|step| record(step, 1.0)).collect();
        for key in &keys {
            let slot = digests.begin(*key, Digest::new(RatesFrom::Live, false), Some(&timeline));
            slot.digest().take(&records, Some(&timeline));
            digests.count(*key, &slot);
            assert!(digests.get(keys[0], Some(&timeline)).is_some(), "it is asked for all the time");
        }
        assert!(digests.get(keys[1], Some(&timeline)).is_none() && digests.get(keys[399], Some(&timeline)).is_some());
        assert!(digests.get(keys[399], None).is_none(), "it is over now");
        let kept: usize = digests.lock().slots.values().map(|used| used.slot.digest().bytes()).sum();
        assert!(kept <= CACHED_BYTES, "{kept}");
    }
}
