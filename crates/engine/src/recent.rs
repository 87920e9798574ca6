//! The newest items of a list that grows with a job: bounded in length, and cheap to clone while it grows.
//!
//! A published timeline and the heart share the list. So it is kept in pieces: a clone shares them all, and the next
//! push copies one piece at most.

use std::{collections::VecDeque, sync::Arc};

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Items in a piece.
const PIECE: usize = 64;

/// The newest items of a list, oldest first.
///
/// Which items are kept depends on what was pushed and popped alone, not on clones or on a round trip through JSON.
#[derive(Clone, Debug)]
pub struct Recent<T> {
    /// Full pieces.
    full: VecDeque<Arc<Vec<T>>>,
    /// Up to [`PIECE`] items; empty only if there are no full pieces either.
    newest: Arc<Vec<T>>,
}

impl<T> Default for Recent<T> {
    fn default() -> Self {
        Self { full: VecDeque::new(), newest: Arc::default() }
    }
}

impl<T: PartialEq> PartialEq for Recent<T> {
    fn eq(&self, other: &Self) -> bool {
        self.iter().eq(other.iter())
    }
}

impl<T> Recent<T> {
    /// The items, oldest first.
    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.full.iter().chain([&self.newest]).flat_map(|piece| piece.iter())
    }

    /// How many items are kept.
    #[must_use]
    pub fn len(&self) -> usize {
        PIECE * self.full.len() + self.newest.len()
    }

    /// The oldest item that is kept.
    #[must_use]
    pub fn first(&self) -> Option<&T> {
        self.full.front().unwrap_or(&self.newest).first()
    }

    /// The newest item.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.newest.last()
    }

    /// The newest item for which `holds`, which holds for all before it too.
    #[must_use]
    pub fn last_with(&self, holds: impl Fn(&T) -> bool) -> Option<&T> {
        let of_piece = |piece: &[T]| piece.partition_point(&holds);
        // Most look for the newest.
        if let Some(place) = of_piece(&self.newest).checked_sub(1) {
            return self.newest.get(place);
        }
        let pieces = self.full.partition_point(|piece| piece.first().is_some_and(&holds));
        let piece = self.full.get(pieces.checked_sub(1)?)?;
        piece.get(of_piece(piece).checked_sub(1)?)
    }

    /// Forgets the oldest items, a piece at a time, while `kept` are left and the oldest of those `may_be_first`.
    /// Returns whether it forgot any.
    pub fn shorten(&mut self, kept: usize, may_be_first: impl Fn(&T) -> bool) -> bool {
        let before = self.full.len();
        while !self.full.is_empty() && self.len() >= kept + PIECE {
            let next = self.full.get(1).unwrap_or(&self.newest);
            if !next.first().is_some_and(&may_be_first) {
                break;
            }
            self.full.pop_front();
        }
        self.full.len() < before
    }
}

impl<T: Clone> Recent<T> {
    /// Adds an item.
    pub fn push(&mut self, item: T) {
        if self.newest.len() == PIECE {
            self.full.push_back(std::mem::take(&mut self.newest));
        }
        Arc::make_mut(&mut self.newest).push(item);
    }

    /// Takes the newest item away.
    pub fn pop(&mut self) -> Option<T> {
        let item = Arc::make_mut(&mut self.newest).pop();
        if self.newest.is_empty()
            && let Some(piece) = self.full.pop_back()
        {
            self.newest = piece;
        }
        item
    }

    /// The newest item, to be changed.
    pub fn last_mut(&mut self) -> Option<&mut T> {
        Arc::make_mut(&mut self.newest).last_mut()
    }
}

impl<T: Clone> FromIterator<T> for Recent<T> {
    fn from_iter<I: IntoIterator<Item = T>>(items: I) -> Self {
        let mut recent = Self::default();
        items.into_iter().for_each(|item| recent.push(item));
        recent
    }
}

impl<T: Serialize> Serialize for Recent<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(self.iter())
    }
}

impl<'de, T: Clone + Deserialize<'de>> Deserialize<'de> for Recent<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Vec::deserialize(deserializer)?.into_iter().collect())
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_clone_keeps_what_it_had_and_shares_the_full_pieces() {
        let mut recent: Recent<u64> = (0..1000).collect();
        let clone = recent.clone();
        recent.push(1000);
        recent.last_mut().into_iter().for_each(|item| *item += 1);

        assert_eq!((clone.last(), clone.len()), (Some(&999), 1000));
        assert_eq!((recent.last(), recent.len()), (Some(&1001), 1001));
        assert!(recent.full.iter().zip(&clone.full).all(|(a, b)| Arc::ptr_eq(a, b)));
    }

    #[test]
    fn the_oldest_are_forgotten_but_not_what_is_needed() {
        let mut recent: Recent<u64> = Recent::default();
        for item in 0..10_000 {
            recent.push(item);
            recent.shorten(100, |first| *first + 500 <= item);
            assert!(recent.len() <= 500 + 2 * PIECE, "{}", recent.len());
        }
        assert!(recent.first().is_some_and(|first| *first <= 9_499), "{:?}", recent.first());
        assert!(recent.shorten(100, |_| true));
        assert!((100..100 + PIECE).contains(&recent.len()), "{}", recent.len());
        assert_eq!(recent.last(), Some(&9_999));
    }

    proptest! {
        #[test]
        fn it_is_a_list_and_survives_json(pushes in prop::collection::vec(prop::option::weighted(0.9, 0..9_u64), 0..600)) {
            let (mut recent, mut list) = (Recent::default(), Vec::new());
            let mut next = 0;
            for push in pushes {
                if let Some(gap) = push {
                    next += gap;
                    recent.push(next);
                    list.push(next);
                } else {
                    prop_assert_eq!(recent.pop(), list.pop());
                }
                prop_assert_eq!(recent.last(), list.last());
            }
            let read: Recent<u64> = serde_json::from_str(&serde_json::to_string(&recent).unwrap()).unwrap();
            prop_assert!(read.iter().eq(&list) && recent.iter().eq(&list) && recent.len() == list.len());
            prop_assert_eq!(read.full.len(), recent.full.len());
            for wanted in 0..next + 2 {
                let found = list[..list.partition_point(|item| *item <= wanted)].last();
                prop_assert_eq!(recent.last_with(|item| *item <= wanted), found);
            }
        }
    }
}
