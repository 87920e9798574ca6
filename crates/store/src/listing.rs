//! The statement for a listing of jobs.

use sqlx::{Encode, QueryBuilder, Type};
use uuid::Uuid;

use super::{dialect::Dialect, rows::job::stored_arm, statements};
use lrs_model::filter::{Comparison, Condition, JobCursor, JobOrder, JobQuery, OrderKey};

/// The statement for `query`. Values are bound; all text in it is ours.
///
/// Pages go by (key, identity), both in the order asked for.
pub(super) fn statement<DB: Dialect>(query: &JobQuery) -> QueryBuilder<DB>
where
    for<'q> String: Encode<'q, DB>,
    for<'q> i64: Encode<'q, DB>,
    for<'q> Uuid: Encode<'q, DB>,
    String: Type<DB>,
    i64: Type<DB>,
    Uuid: Type<DB>,
{
    let mut sql = QueryBuilder::new("-- list_jobs");
    sql.push(statements::LISTED_JOBS).push(" where true");
    if let Some(namespace) = &query.namespace {
        sql.push(" and namespace = ").push_bind(namespace.clone());
    }
    for condition in &query.conditions {
        sql.push(" and ");
        match condition {
            Condition::State(comparison, state) => {
                sql.push("state").push(operator(*comparison)).push_bind(state.as_str().to_owned())
            }
            Condition::Experiment(comparison, experiment) => {
                sql.push("experiment").push(operator(*comparison)).push_bind(experiment.clone())
            }
            Condition::Arm(comparison, arm) => {
                sql.push("arm").push(operator(*comparison)).push_bind(stored_arm(*arm).to_owned())
            }
            Condition::DisplayName(comparison, name) => {
                sql.push("display_name").push(operator(*comparison)).push_bind(name.clone())
            }
            Condition::Label(key, comparison, value) => sql
                .push(DB::LABEL.0)
                .push_bind(key.clone())
                .push(DB::LABEL.1)
                .push(operator(*comparison))
                .push_bind(value.clone()),
            Condition::CreateTime(comparison, time) => {
                sql.push("create_time").push(operator(*comparison)).push_bind(time.0)
            }
            Condition::UpdateTime(comparison, time) => {
                sql.push("update_time").push(operator(*comparison)).push_bind(time.0)
            }
            Condition::ActiveTime(comparison, time) => {
                sql.push("active_time").push(operator(*comparison)).push_bind(time.0)
            }
        };
    }
    let JobOrder { key, descending } = query.order;
    let (column, past, direction) = (
        match key {
            OrderKey::Name => "name",
            OrderKey::CreateTime => "create_time",
            OrderKey::UpdateTime => "update_time",
        },
        if descending { " < " } else { " > " },
        if descending { " desc" } else { "" },
    );
    if let Some(cursor) = &query.after {
        sql.push(" and (").push(column).push(", id)").push(past).push("(");
        let id = match cursor {
            JobCursor::Name(name, id) => {
                sql.push_bind(name.clone());
                id
            }
            JobCursor::Time(time, id) => {
                sql.push_bind(time.0);
                id
            }
        };
        sql.push(", ").push_bind(id.0).push(")");
    }
    sql.push(" order by ").push(column).push(direction).push(", id").push(direction);
    sql.push(" limit ").push_bind(i64::from(query.limit));
    sql
}

/// `statement`, which ends with an opened list, for these keys.
pub(super) fn among<DB: Dialect, K>(statement: &'static str, keys: impl Iterator<Item = K>) -> QueryBuilder<DB>
where
    for<'q> K: Encode<'q, DB>,
    K: Type<DB>,
{
    let mut sql = QueryBuilder::new(statement);
    let mut list = sql.separated(", ");
    for key in keys {
        list.push_bind(key);
    }
    list.push_unseparated(")");
    sql
}

/// A missing label is null, and null is distinct from every value.
fn operator(comparison: Comparison) -> &'static str {
    match comparison {
        Comparison::Equal => " = ",
        Comparison::NotEqual => " is distinct from ",
        Comparison::Less => " < ",
        Comparison::LessOrEqual => " <= ",
        Comparison::Greater => " > ",
        Comparison::GreaterOrEqual => " >= ",
    }
}
