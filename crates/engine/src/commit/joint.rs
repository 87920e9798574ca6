//! Writes of several jobs' owners that are committed together: each owner hands over its part and waits for the whole.

use tokio::sync::oneshot;

use super::Committed;
use crate::{api::Error, ticket::Ticket};
use lrs_store::{Outcome, Write};

/// Where an owner hands over its part.
pub type Joint = oneshot::Sender<Part>;

/// What one owner contributes. Dropped without an answer, the part is refused.
#[derive(Debug)]
pub struct Part {
    /// The owner's writes.
    pub writes: Vec<Write>,
    done: oneshot::Sender<Result<Vec<Outcome>, Error>>,
}

impl Part {
    /// Tells the owner what became of the whole.
    pub fn answer(self, result: Result<(), Error>) {
        // Whoever asked may have gone; the writes stand.
        let _ = self.done.send(result.map(|()| Vec::new()));
    }
}

/// Hands over an owner's part, and returns the answer to come.
#[must_use]
pub fn join(joint: Joint, writes: Vec<Write>, ticket: Ticket) -> Committed {
    let (done, answer) = oneshot::channel();
    // If nobody takes the part, `done` is dropped, and the answer is an error.
    let _ = joint.send(Part { writes, done });
    Committed { answer, ticket: Some(ticket) }
}
