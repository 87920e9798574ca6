//! Memory for bytes on their way, shared by all connections.

use std::sync::Arc;

use tokio::sync::{AcquireError, OwnedSemaphorePermit, Semaphore};

use super::pressure::Pressure;

/// So many bytes of a message are free of charge, so that callers with small messages are served even while others fill
/// the memory. The number of these messages is bounded elsewhere.
const FREE: usize = 4 << 10;
/// A message of this size is large. Large messages leave an eighth of the memory to the others, such as the metrics.
const LARGE: usize = 256 << 10;

/// Memory of which bytes on their way take their part. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Budget {
    name: &'static str,
    limit: usize,
    left: Arc<Semaphore>,
    pressure: Pressure,
}

/// A part of a budget, given back when it is dropped.
pub(super) type Charge = OwnedSemaphorePermit;

/// The memory of a budget is used up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}, {limit} bytes, is used up")]
pub struct UsedUp {
    /// The setting that bounds the memory.
    pub name: &'static str,
    /// Its value.
    pub limit: usize,
}

impl Budget {
    /// `limit` bytes, which the setting `name` allows.
    #[must_use]
    pub fn new(name: &'static str, limit: usize, pressure: Pressure) -> Self {
        Self { name, limit, left: Arc::new(Semaphore::new(limit.min(Semaphore::MAX_PERMITS))), pressure }
    }

    /// Charges for a message of `bytes` at once.
    pub(super) fn take(&self, bytes: usize) -> Result<Option<Charge>, UsedUp> {
        let Some(bytes) = charged(bytes) else { return Ok(None) };
        let spared = if bytes < LARGE { 0 } else { self.limit / 8 };
        let has_room = self.left.available_permits() >= bytes + spared;
        let bytes = u32::try_from(bytes).ok().filter(|_| has_room);
        let charge = bytes.and_then(|bytes| Arc::clone(&self.left).try_acquire_many_owned(bytes).ok());
        charge.map(Some).ok_or_else(|| {
            self.pressure.note();
            UsedUp { name: self.name, limit: self.limit }
        })
    }

    /// Charges for `bytes` more of a stream of which so many are `waiting`, as soon as there is room. `None` if they are
    /// free of charge.
    pub(super) fn wait(
        &self,
        bytes: usize,
        waiting: usize,
    ) -> Option<impl Future<Output = Result<Charge, AcquireError>> + Send + use<>> {
        let bytes = charged(bytes + waiting.min(FREE))?;
        if self.left.available_permits() < bytes {
            self.pressure.note();
        }
        // What is larger than the whole memory waits for all of it.
        let bytes = u32::try_from(bytes.min(self.limit)).unwrap_or(u32::MAX);
        Some(Arc::clone(&self.left).acquire_many_owned(bytes))
    }

    /// Changes a charge to that of a message of which there are `bytes` by now.
    pub(super) fn adapt(&self, charge: &mut Option<Charge>, bytes: usize) -> Result<(), UsedUp> {
        let (has, needs) = (charge.as_ref().map_or(0, Charge::num_permits), charged(bytes).unwrap_or(0));
        if needs == 0 {
            *charge = None;
        } else if needs < has {
            drop(charge.as_mut().and_then(|charge| charge.split(has - needs)));
        } else if let Some(more) = self.take(needs - has + FREE)? {
            match charge {
                Some(charge) => charge.merge(more),
                None => *charge = Some(more),
            }
        }
        Ok(())
    }
}

/// What of `bytes` is charged for.
fn charged(bytes: usize) -> Option<usize> {
    bytes.checked_sub(FREE).filter(|charged| *charged > 0)
}

#[cfg(test)]
mod tests {
    use tokio_util::sync::CancellationToken;

    use super::*;

    fn budget(bytes: usize) -> Budget {
        Budget::new("response_bytes", bytes, Pressure::new(CancellationToken::new()))
    }

    #[test]
    fn what_is_used_up_is_refused_by_name_and_a_small_message_is_not() {
        let budget = budget(10_000);
        let first = budget.take(FREE + 9000).unwrap();
        let refused = budget.take(FREE + 1001).unwrap_err();
        assert_eq!(refused.to_string(), "response_bytes, 10000 bytes, is used up");
        assert!(budget.take(FREE).unwrap().is_none());
        drop(first);
        assert!(budget.take(FREE + 1001).is_ok());
    }

    #[test]
    fn large_messages_leave_room_to_others() {
        let budget = budget(8 * LARGE);
        assert!(budget.take(FREE + 7 * LARGE + 1).is_err());
        let _large = budget.take(FREE + 7 * LARGE).unwrap();
        assert!(budget.take(FREE + LARGE - 1).is_ok());
    }

    #[test]
    fn a_charge_follows_the_message_up_and_down() {
        let (budget, mut charge) = (budget(10_000), None);
        for (bytes, left) in [(100, 10_000), (FREE + 6000, 4000), (FREE + 9000, 1000), (FREE + 1, 9999), (0, 10_000)] {
            budget.adapt(&mut charge, bytes).unwrap();
            assert_eq!(budget.left.available_permits(), left, "{bytes}");
        }
        assert!(budget.adapt(&mut charge, FREE + 10_001).is_err());
    }
}
