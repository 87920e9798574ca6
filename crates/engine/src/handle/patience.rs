//! How long a call waits for the database, and what becomes of its change when it waits no longer.

use std::time::Duration;

use super::Engine;
use crate::{api::Error, commit::Pipeline, tenure::Question, ticket::Ticket};
use lrs_model::name::JobId;
use lrs_runtime::error::{Cause, chain};
use lrs_store as store;

impl Engine {
    /// How long a call waits for the database.
    #[must_use]
    pub fn store_timeout(&self) -> Duration {
        self.0.context.settings.store_timeout
    }

    /// What `work` gives, if it comes in time. For waits behind others who may be waiting for the database. Cancel safe
    /// if `work` is.
    ///
    /// # Errors
    /// That the database is away or busy, if it does not come in time.
    pub async fn in_time<T>(&self, work: impl Future<Output = T>) -> Result<T, Error> {
        tokio::time::timeout(self.store_timeout(), work).await.map_err(|_| self.late())
    }

    /// The answer to a change that was asked for with `ticket`. If it does not come in time, or the caller drops this
    /// future, the change is withdrawn, unless the database has been told to commit it.
    ///
    /// # Errors
    /// Of the answer; or that the database is away or busy, and that nothing was changed, or that the outcome is
    /// unknown.
    pub(super) async fn answered<T>(
        &self,
        ticket: Ticket,
        answer: impl Future<Output = Result<T, Error>>,
    ) -> Result<T, Error> {
        let asked = Asked { pipeline: self.0.context.pipeline.clone(), ticket };
        if let Ok(answer) = tokio::time::timeout(self.store_timeout(), answer).await {
            return answer;
        }
        if asked.pipeline.withdraw(&asked.ticket) {
            return Err(self.late());
        }
        let why = self.0.context.pipeline.trouble().map_or_else(|| self.no_answer(), |trouble| chain(&trouble));
        Err(Error::OutcomeUnknown(Cause::new(why)))
    }

    /// Lets an answer from memory out once it is proven that this process owned the database after it was `asked`: what
    /// another owner has changed is not denied, nor is anything called wrong that is right since.
    ///
    /// # Errors
    /// Of the answer; or that this process owns the database no more, or cannot know.
    pub(super) async fn vouched<T>(&self, asked: Question, answer: Result<T, Error>) -> Result<T, Error> {
        if let Err(
            Error::StoreUnavailable(_)
            | Error::StoreBusy(_)
            | Error::OutcomeUnknown(_)
            | Error::Overloaded { .. }
            | Error::Deposed
            | Error::ShuttingDown,
        ) = answer
        {
            return answer;
        }
        match tokio::time::timeout(self.store_timeout(), self.0.context.tenure.proven_since(asked)).await {
            Ok(true) => answer,
            Ok(false) => Err(Error::Deposed),
            // An earlier request may have made the change.
            Err(_) if answer.is_ok() => Err(Error::OutcomeUnknown(Cause::new(self.no_answer()))),
            Err(_) => Err(self.late()),
        }
    }

    /// Waits until all that was submitted for a job before is durable, so that a read sees it.
    ///
    /// # Errors
    /// If it does not become durable in time, or the server is shutting down.
    pub(super) async fn settled(&self, job: JobId) -> Result<(), Error> {
        let ticket = Ticket::new();
        self.answered(ticket.clone(), self.0.context.pipeline.settle(job, Some(ticket))).await
    }

    /// Why an answer does not come in time.
    pub(super) fn late(&self) -> Error {
        match self.0.context.pipeline.trouble() {
            Some(store::Error::Busy(why)) => Error::StoreBusy(why),
            Some(trouble) => Error::StoreUnavailable(Cause::new(trouble)),
            None => Error::StoreUnavailable(Cause::new(self.no_answer())),
        }
    }

    fn no_answer(&self) -> String {
        format!("no answer within {:?}", self.store_timeout())
    }
}

/// A change that a caller waits for. It is withdrawn when the caller waits no longer; that has no effect once it is
/// being committed.
struct Asked {
    pipeline: Pipeline,
    ticket: Ticket,
}

impl Drop for Asked {
    fn drop(&mut self) {
        let _ = self.pipeline.withdraw(&self.ticket);
    }
}
