//! The calls of a connection, and what a call holds until its answer has been written.

use std::{
    any::Any,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::Instant;

use super::budget::{Budget, Charge, UsedUp};

/// The calls of a connection.
#[derive(Debug)]
pub(super) struct Calls(Mutex<State>);

#[derive(Debug)]
struct State {
    under_way: usize,
    has_begun: bool,
    /// When the last call ended, or the connection began.
    quiet_since: Instant,
}

impl Calls {
    /// No calls yet.
    pub(super) fn new() -> Arc<Self> {
        Arc::new(Self(Mutex::new(State { under_way: 0, has_begun: false, quiet_since: Instant::now() })))
    }

    /// A call begins. It is under way until the last clone is dropped.
    pub(super) fn begin(self: &Arc<Self>) -> Arc<Call> {
        let mut state = self.state();
        state.under_way += 1;
        state.has_begun = true;
        Arc::new(Call { calls: Arc::clone(self), request: Mutex::default() })
    }

    /// For how long no call has been under way; `None` while one is.
    pub(super) fn quiet(&self) -> Option<Duration> {
        let state = self.state();
        (state.under_way == 0).then(|| state.quiet_since.elapsed())
    }

    /// Whether there was a call on this connection at all.
    pub(super) fn has_begun(&self) -> bool {
        self.state().has_begun
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A call that is under way.
#[derive(Debug)]
pub(super) struct Call {
    calls: Arc<Calls>,
    /// The charge for a request that is kept until the call is over.
    request: Mutex<Option<Charge>>,
}

impl Call {
    /// Charges for a request of which there are `bytes` by now, until the call is over.
    pub(super) fn charge(&self, budget: &Budget, bytes: usize) -> Result<(), UsedUp> {
        budget.adapt(&mut self.request.lock().unwrap_or_else(PoisonError::into_inner), bytes)
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        let mut state = self.calls.state();
        state.under_way -= 1;
        state.quiet_since = Instant::now();
    }
}

/// What is dropped once an answer has been written, or given up.
#[derive(Clone, Default)]
pub(super) struct Held(Vec<Arc<dyn Any + Send + Sync>>);

/// Keeps `guard`, such as a slot, until the last byte of `answer` has been written or given up.
pub fn hold<B>(answer: &mut http::Response<B>, guard: impl Any + Send + Sync) {
    answer.extensions_mut().get_or_insert_default::<Held>().0.push(Arc::new(guard));
}

/// Takes what `answer` keeps.
pub(super) fn take_held<B>(answer: &mut http::Response<B>) -> Held {
    answer.extensions_mut().remove().unwrap_or_default()
}
