//! Thousands of jobs at once: copies of a job, made by SQL while no server runs.

use sqlx::{AssertSqlSafe, Connection as _, Executor as _, PgConnection, SqliteConnection};

/// A job's columns that a copy shares.
const SHARED: &str = "namespace, initial_spec, spec, display_name, experiment, arm, labels, state, state_reason,
    state_author, version, request_id, forked_from, create_time, update_time, end_time, active_time";

/// Copies the job `template` with its attempts and its snapshot, but without telemetry and decisions: `{template}-1` to
/// `{template}-{count}`.
pub async fn copy(database_url: &str, template: &str, count: usize) {
    let is_postgres = database_url.starts_with("postgres");
    let (numbers, id) = if is_postgres {
        (format!("select n from generate_series(1, {count}) as numbers (n)"), "gen_random_uuid()")
    } else {
        let all = format!("select 1 as n union all select n + 1 from numbers where n < {count}");
        (format!("select n from (with recursive numbers as ({all}) select n from numbers)"), "randomblob(16)")
    };
    let copied = "join jobs copied on copied.name like template.name || '-%'";
    let statements = [
        format!(
            "insert into jobs (id, name, {SHARED})
             select {id}, name || '-' || n, {SHARED} from jobs, ({numbers}) as number where name = '{template}'"
        ),
        format!(
            "insert into attempts (job_id, attempt, token, resume_step, parent_attempt, reserved_end, create_time)
             select copied.id, attempt, token, resume_step, parent_attempt, reserved_end, attempts.create_time
             from attempts join jobs template on template.id = job_id {copied} where template.name = '{template}'"
        ),
        format!(
            "insert into job_state (job_id, attempt, next_seq, state)
             select copied.id, attempt, next_seq, job_state.state
             from job_state join jobs template on template.id = job_id {copied} where template.name = '{template}'"
        ),
    ];
    // Statistics too, as a database has them that filled up over months.
    let statements = statements.into_iter().chain(["analyze".to_owned()]);
    if is_postgres {
        let mut connection = PgConnection::connect(database_url).await.unwrap();
        for statement in statements {
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        connection.close().await.unwrap();
    } else {
        let mut connection = SqliteConnection::connect(database_url).await.unwrap();
        for statement in statements {
            connection.execute(AssertSqlSafe(statement)).await.unwrap();
        }
        connection.close().await.unwrap();
    }
}
