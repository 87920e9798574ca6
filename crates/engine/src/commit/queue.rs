//! Who is next: a queue that is fair between jobs.
//!
//! Every job has a lane, served in order of arrival. The next item is taken from the lane that has had least so far. A
//! lane that comes back after a while counts as having had as much as the lane served at that moment, so that no job
//! saves up turns. This is start-time fair queuing: Goyal, Vin and Cheng, SIGCOMM 1996.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap, VecDeque},
};

use lrs_model::name::JobId;

/// What an item weighs beside its values of telemetry, in such values.
const ITEM_WEIGHT: u64 = 64;

/// Items of many jobs.
pub struct Queue<T> {
    lanes: HashMap<JobId, VecDeque<(usize, T)>>,
    /// Every lane once, by how much it has had, and by arrival among those that have had the same. An empty lane is
    /// removed at its turn.
    order: BinaryHeap<Reverse<(u64, u64, JobId)>>,
    /// How much the lane that was served last had had.
    now: u64,
    count: u64,
    len: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), order: BinaryHeap::new(), now: 0, count: 0, len: 0 }
    }
}

impl<T> Queue<T> {
    /// Adds an item of so many values behind those of its job.
    pub fn push(&mut self, job: JobId, values: usize, item: T) {
        let lane = self.lanes.entry(job).or_insert_with(|| {
            self.count += 1;
            self.order.push(Reverse((self.now, self.count, job)));
            VecDeque::new()
        });
        lane.push_back((values, item));
        self.len += 1;
    }

    /// Drops the items that are not to be kept.
    pub fn retain(&mut self, mut is_kept: impl FnMut(&T) -> bool) {
        for lane in self.lanes.values_mut() {
            lane.retain(|(_, item)| is_kept(item));
        }
        self.len = self.lanes.values().map(VecDeque::len).sum();
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The next items: at most `max_items`, and no more once they have `max_values`.
    pub fn take(&mut self, max_items: usize, max_values: usize) -> Vec<T> {
        let mut taken = Vec::new();
        let mut taken_values = 0;
        while taken.len() < max_items && taken_values < max_values {
            let Some(Reverse((had, _, job))) = self.order.pop() else { break };
            self.now = had;
            let Some((values, item)) = self.lanes.get_mut(&job).and_then(VecDeque::pop_front) else {
                self.lanes.remove(&job);
                continue;
            };
            taken_values += values;
            taken.push(item);
            self.count += 1;
            self.order.push(Reverse((had + ITEM_WEIGHT + values as u64, self.count, job)));
        }
        self.len -= taken.len();
        taken
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use uuid::Uuid;

    use super::*;

    fn job(number: u128) -> JobId {
        JobId(Uuid::from_u128(number))
    }

    /// Items are the job's number and a count.
    fn filled(jobs: &[(u128, usize)], values: usize) -> Queue<(u128, usize)> {
        let mut queue = Queue::default();
        for &(number, items) in jobs {
            (0..items).for_each(|count| queue.push(job(number), values, (number, count)));
        }
        queue
    }

    fn drain<T>(queue: &mut Queue<T>) -> Vec<T> {
        queue.take(usize::MAX, usize::MAX)
    }

    #[test]
    fn jobs_take_turns() {
        let mut queue = filled(&[(1, 3), (2, 3)], 1000);
        assert_eq!(drain(&mut queue), [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)]);
    }

    #[test]
    fn what_is_dropped_is_as_if_it_had_never_come() {
        let mut queue = filled(&[(1, 3), (2, 1)], 1000);
        queue.retain(|item| *item != (1, 1) && *item != (2, 0));
        assert_eq!(queue.len(), 2);
        queue.push(job(2), 1000, (2, 7));
        assert_eq!(drain(&mut queue), [(1, 0), (2, 7), (1, 2)]);
        assert_eq!(queue.len(), 0);
    }

    #[test]
    fn who_sends_little_at_a_time_has_more_turns() {
        let mut queue = filled(&[(1, 10)], 4096);
        (0..50).for_each(|count| queue.push(job(2), 16, (2, count)));
        assert_eq!(queue.take(51, usize::MAX).iter().filter(|(number, _)| *number == 1).count(), 1);
    }

    #[test]
    fn who_comes_after_a_while_is_next_but_has_saved_up_nothing() {
        let mut queue = filled(&[(1, 100)], 1000);
        queue.take(50, usize::MAX);
        (0..50).for_each(|count| queue.push(job(2), 1000, (2, count)));
        let numbers: Vec<u128> = queue.take(6, usize::MAX).iter().map(|(number, _)| *number).collect();
        assert_eq!(numbers, [2, 1, 2, 1, 2, 1]);
    }

    #[test]
    fn who_has_always_just_come_keeps_nobody_out() {
        let mut queue = filled(&[(1, 100)], 1000);
        let mut served = 0;
        for count in 0..30 {
            queue.push(job(2), 1000, (2, count));
            queue.push(job(3), 1000, (3, count));
            served += queue.take(1, usize::MAX).iter().filter(|(number, _)| *number == 1).count();
        }
        assert_eq!(served, 10);
    }

    #[test]
    fn what_is_taken_at_once_is_bounded_by_values() {
        let mut queue = filled(&[(1, 100), (2, 100)], 1000);
        assert_eq!(queue.take(usize::MAX, 3000).len(), 3);
        assert_eq!(queue.take(usize::MAX, 1).len(), 1, "there is always a next one");
        let mut small = filled(&[(1, 100)], 0);
        assert_eq!(small.take(60, 3000).len(), 60, "those without values in number alone");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_a_job_s_items_stay_in_order(
            steps in prop::collection::vec((0..5_u128, 0..8000_usize, 0..4_usize, 0..12_000_usize), 1..200),
        ) {
            let mut queue = Queue::default();
            let (mut pushed, mut taken) = (HashMap::new(), Vec::new());
            for (number, values, items, max_values) in steps {
                let count = pushed.entry(number).or_insert(0);
                queue.push(job(number), values, (number, *count));
                *count += 1;
                taken.extend(queue.take(items, max_values));
            }
            taken.extend(drain(&mut queue));
            prop_assert_eq!(queue.len(), 0);
            prop_assert!(queue.lanes.is_empty() && queue.order.is_empty(), "empty lanes go");
            for (number, count) in pushed {
                let of_job: Vec<usize> = taken.iter().filter(|(job, _)| *job == number).map(|(_, count)| *count).collect();
                prop_assert_eq!(of_job, (0..count).collect::<Vec<_>>());
            }
        }
    }
}
