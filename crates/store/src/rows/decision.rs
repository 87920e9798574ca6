//! A row of `decisions`.

use sqlx::FromRow;

use super::{Source, stored_json, stored_number};
use crate::{DecisionRow, Error};
use lrs_model::{
    decision::{Author, Decision, DecisionId},
    job::Timestamp,
    name::JobId,
    number,
};

const WHAT: &str = "to store a decision";

/// `author_kind` of people; the statements that pick people's decisions say it too.
const PERSON: &str = "person";
const CONTROLLER: &str = "controller";

/// A row of `decisions`, without its job. A row to be stored has no position yet.
#[derive(FromRow)]
pub(crate) struct StoredDecision {
    pub(crate) position: i64,
    pub(crate) id: String,
    pub(crate) attempt: i64,
    pub(crate) step: i64,
    pub(crate) effective_step: i64,
    pub(crate) author_kind: String,
    pub(crate) author: String,
    pub(crate) reason: String,
    pub(crate) evidence: String,
    pub(crate) effect: String,
    pub(crate) request_id: Option<String>,
    pub(crate) create_time: i64,
}

impl TryFrom<(&Decision, Option<&str>)> for StoredDecision {
    type Error = Error;

    fn try_from((decision, request_id): (&Decision, Option<&str>)) -> Result<Self, Error> {
        let (author_kind, author) = match &decision.author {
            Author::Person(name) => (PERSON, name),
            Author::Controller(name) => (CONTROLLER, name),
        };
        let mut evidence = Vec::new();
        number::map::serialize(&decision.evidence, &mut serde_json::Serializer::new(&mut evidence))
            .map_err(|error| Error::refused(WHAT, error))?;
        Ok(Self {
            position: 0,
            id: decision.id.to_string(),
            attempt: decision.attempt.into(),
            step: stored_number(WHAT, decision.step)?,
            effective_step: stored_number(WHAT, decision.effective_step)?,
            author_kind: author_kind.to_owned(),
            author: author.clone(),
            reason: decision.reason.clone(),
            evidence: String::from_utf8_lossy(&evidence).into_owned(),
            effect: stored_json(WHAT, &decision.effect)?,
            request_id: request_id.map(ToOwned::to_owned),
            create_time: decision.create_time.0,
        })
    }
}

impl StoredDecision {
    /// All but its place and its job, in words.
    pub(crate) fn contents(&self) -> String {
        let Self { attempt, step, effective_step, author_kind, author, reason, evidence, effect, request_id, .. } =
            self;
        let request = request_id.as_ref().map(|id| format!(", request {id:?}")).unwrap_or_default();
        format!(
            "of attempt {attempt}, step {step}, from step {effective_step} on: {effect} by {author_kind} {author:?} at {}: \
             {reason:?}, {evidence}{request}",
            Timestamp(self.create_time)
        )
    }
}

impl TryFrom<(JobId, StoredDecision)> for DecisionRow {
    type Error = Error;

    fn try_from((job, row): (JobId, StoredDecision)) -> Result<Self, Error> {
        let source = Source::new("decisions", format_args!("{job}/{}", row.id));
        let author = match row.author_kind.as_str() {
            PERSON => Author::Person(row.author),
            CONTROLLER => Author::Controller(row.author),
            other => return Err(source.inconsistent(format_args!("author_kind {other:?} is unknown"))),
        };
        let decision = Decision {
            id: DecisionId::parse(&row.id).ok_or_else(|| source.inconsistent("id is not a decision's"))?,
            attempt: source.number("attempt", row.attempt)?,
            step: source.number("step", row.step)?,
            effective_step: source.number("effective_step", row.effective_step)?,
            author,
            reason: row.reason,
            evidence: number::map::deserialize(&mut serde_json::Deserializer::from_str(&row.evidence))
                .map_err(|error| source.inconsistent(format_args!("evidence: {error}")))?,
            effect: source.json("effect", &row.effect)?,
            create_time: Timestamp(row.create_time),
        };
        Ok(Self { position: source.number("position", row.position)?, decision, request_id: row.request_id })
    }
}
