//! What ties a caller to the change that it asked for: a change that has not been committed when its caller gets an
//! error is withdrawn, so that it does not happen later.

use std::sync::Arc;

use tokio::sync::watch;

/// Shared by a caller and the writes of its change on their way to the database.
#[derive(Clone, Debug)]
pub struct Ticket(Arc<watch::Sender<State>>);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum State {
    /// Nothing has been committed, and nothing will be if the caller withdraws.
    Waiting,
    /// The database is told to commit, or was told so before.
    Committing,
    /// The same, and the caller was told that the outcome is unknown: if the commit fails, there is no other.
    Abandoned,
    Withdrawn,
}

impl Ticket {
    /// A ticket of a change that is asked for now.
    #[must_use]
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new(State::Waiting)))
    }

    /// Withdraws the change. Whether that was possible: then nothing of it is ever stored. Otherwise it is stored by the
    /// commit that is under way, or not at all.
    #[must_use]
    pub fn withdraw(&self) -> bool {
        self.turn(State::Committing, State::Abandoned);
        self.turn(State::Waiting, State::Withdrawn) || self.is_withdrawn()
    }

    /// Whether the change was withdrawn.
    #[must_use]
    pub fn is_withdrawn(&self) -> bool {
        *self.0.borrow() == State::Withdrawn
    }

    /// Whether the change may be stored.
    #[must_use]
    pub fn may_be_stored(&self) -> bool {
        matches!(*self.0.borrow(), State::Committing | State::Abandoned)
    }

    /// Waits until the change is withdrawn, perhaps for ever. Cancel safe.
    pub async fn withdrawn(&self) {
        if self.0.subscribe().wait_for(|state| *state == State::Withdrawn).await.is_err() {
            // The sender is in our hands.
            std::future::pending::<()>().await;
        }
    }

    /// The change is about to be committed. Whether it may be.
    #[must_use]
    pub fn begin(&self) -> bool {
        self.turn(State::Waiting, State::Committing) || !self.is_withdrawn()
    }

    /// The commit has failed for certain: the change can be withdrawn again, and is if its caller has gone.
    pub fn undo(&self) {
        self.turn(State::Committing, State::Waiting);
        self.turn(State::Abandoned, State::Withdrawn);
    }

    fn turn(&self, from: State, to: State) -> bool {
        self.0.send_if_modified(|state| {
            let turns = *state == from;
            if turns {
                *state = to;
            }
            turns
        })
    }
}

#[cfg(test)]
mod tests {
    use futures::FutureExt as _;

    use super::*;

    #[tokio::test]
    async fn what_is_withdrawn_is_not_committed() {
        let ticket = Ticket::new();
        assert!(ticket.withdrawn().now_or_never().is_none());
        assert!(ticket.withdraw() && ticket.withdraw() && !ticket.begin());
        ticket.undo();
        assert!(!ticket.begin());
        ticket.withdrawn().await;
    }

    #[test]
    fn what_is_being_committed_cannot_be_withdrawn_until_that_has_failed() {
        let ticket = Ticket::new();
        assert!(ticket.begin() && ticket.begin());
        ticket.undo();
        assert!(ticket.withdraw());
    }

    #[test]
    fn what_its_caller_has_given_up_is_not_committed_again() {
        let ticket = Ticket::new();
        assert!(ticket.begin() && !ticket.withdraw() && !ticket.withdraw());
        assert!(ticket.begin(), "the outcome is still unknown");
        ticket.undo();
        assert!(ticket.is_withdrawn() && !ticket.begin());
    }
}
