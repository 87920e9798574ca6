//! Who is next: a queue that is fair between jobs.
//!
//! Every job has a lane, in which it is first come first served. Lanes take turns of a bounded weight, and one that had nothing to say
//! since its last turn comes before those that always have: the scheduler of FQ-CoDel (RFC 8290, section 4.2) without its dropping.

use std::collections::{HashMap, VecDeque};

use crate::model::name::JobId;

/// A turn is over when the items taken in it weigh this much.
pub const TURN: usize = 4096;

/// Items of many jobs.
pub struct Queue<T> {
    lanes: HashMap<JobId, VecDeque<(usize, T)>>,
    /// Lanes that had no turn yet.
    fresh: VecDeque<JobId>,
    /// The others, the next one first. One that is empty goes at its turn, so that only who waits for a whole round is fresh again.
    others: VecDeque<JobId>,
    len: usize,
}

impl<T> Default for Queue<T> {
    fn default() -> Self {
        Self { lanes: HashMap::new(), fresh: VecDeque::new(), others: VecDeque::new(), len: 0 }
    }
}

impl<T> Queue<T> {
    /// Adds an item behind those of its job.
    pub fn push(&mut self, job: JobId, weight: usize, item: T) {
        let lane = self.lanes.entry(job).or_insert_with(|| {
            self.fresh.push_back(job);
            VecDeque::new()
        });
        lane.push_back((weight, item));
        self.len += 1;
    }

    /// How many items there are.
    pub fn len(&self) -> usize {
        self.len
    }

    /// The next items: at most `max_items`, and no more turns once they weigh `max_weight`. After those of fresh lanes, which are not to
    /// wait long, there is but one turn of the others.
    pub fn take(&mut self, max_items: usize, max_weight: usize) -> Vec<T> {
        let mut taken = Vec::new();
        let mut weight = 0;
        let mut max_with_others = max_weight;
        while taken.len() < max_items {
            let max_weight_now = if self.fresh.is_empty() { max_with_others } else { max_weight };
            if weight >= max_weight_now {
                break;
            }
            let fresh = self.fresh.pop_front();
            let Some(job) = fresh.or_else(|| self.others.pop_front()) else { break };
            let Some(lane) = self.lanes.get_mut(&job).filter(|lane| !lane.is_empty()) else {
                self.lanes.remove(&job);
                continue;
            };
            let mut turn = 0;
            while turn < TURN
                && taken.len() < max_items
                && let Some((item_weight, item)) = lane.pop_front()
            {
                turn += item_weight;
                taken.push(item);
            }
            weight += turn;
            if fresh.is_some() {
                max_with_others = max_weight.min(weight + TURN);
            }
            self.others.push_back(job);
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
    fn filled(jobs: &[(u128, usize)], weight: usize) -> Queue<(u128, usize)> {
        let mut queue = Queue::default();
        for &(number, items) in jobs {
            (0..items).for_each(|count| queue.push(job(number), weight, (number, count)));
        }
        queue
    }

    fn drain<T>(queue: &mut Queue<T>) -> Vec<T> {
        let mut taken = Vec::new();
        while queue.len() > 0 {
            taken.extend(queue.take(usize::MAX, usize::MAX));
        }
        taken
    }

    #[test]
    fn jobs_take_turns() {
        let mut queue = filled(&[(1, 3), (2, 3)], TURN);
        assert_eq!(drain(&mut queue), [(1, 0), (2, 0), (1, 1), (2, 1), (1, 2), (2, 2)]);
    }

    #[test]
    fn a_turn_is_as_many_items_as_fill_it() {
        let mut queue = filled(&[(1, 5), (2, 1)], TURN / 2);
        assert_eq!(queue.take(3, usize::MAX), [(1, 0), (1, 1), (2, 0)]);
    }

    #[test]
    fn who_comes_anew_comes_first() {
        let mut queue = filled(&[(1, 100), (2, 100)], TURN);
        queue.take(7, usize::MAX);
        queue.push(job(3), 1, (3, 0));
        let taken = queue.take(usize::MAX, 10 * TURN);
        assert_eq!((taken[0], taken.len()), ((3, 0), 2), "and takes one turn of the others along");
    }

    #[test]
    fn who_always_comes_anew_keeps_nobody_out() {
        let mut queue = filled(&[(1, 100)], TURN);
        for count in 0..20 {
            queue.push(job(2), TURN, (2, count));
            queue.push(job(3), TURN, (3, count));
            queue.take(1, usize::MAX);
        }
        let left = drain(&mut queue);
        let served = |number| 100 - left.iter().filter(|(job, _)| *job == number).count();
        assert!(served(1) >= 6, "job 1 had {} of 20 turns", served(1));
    }

    #[test]
    fn what_is_taken_at_once_is_bounded_by_weight() {
        let mut queue = filled(&[(1, 100), (2, 100)], TURN);
        assert_eq!(queue.take(usize::MAX, 3 * TURN).len(), 3);
        assert_eq!(queue.take(usize::MAX, 1).len(), 1, "there is always a next one");
    }

    proptest! {
        #[test]
        fn nothing_is_lost_and_a_job_s_items_stay_in_order(
            steps in prop::collection::vec((0..5_u128, 0..TURN * 2, 0..4_usize, 0..3 * TURN), 1..200),
        ) {
            let mut queue = Queue::default();
            let (mut pushed, mut taken) = (HashMap::new(), Vec::new());
            for (number, weight, items, max_weight) in steps {
                let count = pushed.entry(number).or_insert(0);
                queue.push(job(number), weight, (number, *count));
                *count += 1;
                taken.extend(queue.take(items, max_weight));
            }
            taken.extend(drain(&mut queue));
            queue.take(usize::MAX, usize::MAX);
            prop_assert!(queue.lanes.is_empty() && queue.fresh.is_empty() && queue.others.is_empty(), "empty lanes go");
            for (number, count) in pushed {
                let of_job: Vec<usize> = taken.iter().filter(|(job, _)| *job == number).map(|(_, count)| *count).collect();
                prop_assert_eq!(of_job, (0..count).collect::<Vec<_>>());
            }
        }
    }
}
