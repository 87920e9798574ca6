//! Statements that are the same in all databases.
//!
//! JSON is read as text: `cast(… as text)` is what a `json` column needs in PostgreSQL, and changes nothing in SQLite.

/// Jobs for a listing, to be followed by conditions.
pub(super) const LISTED_JOBS: &str = "
    select id, name, cast(initial_spec as text) as initial_spec, cast(spec as text) as spec, state, state_reason,
        state_author, version, request_id, cast(forked_from as text) as forked_from, create_time, update_time, end_time,
        telemetry_removed_time, active_time,
        (select max(attempt) from attempts where attempts.job_id = jobs.id) as newest_attempt
    from jobs";

/// Jobs to be served, to be followed by their names.
pub(super) const JOB_RECORDS: &str = "
    -- job_records
    select id, name, cast(initial_spec as text) as initial_spec, cast(spec as text) as spec, state, state_reason,
        state_author, version, request_id, cast(forked_from as text) as forked_from, create_time, update_time, end_time,
        telemetry_removed_time, active_time,
        exists (select 1 from decisions where decisions.job_id = jobs.id and author_kind = 'person') as has_people
    from jobs where name in (";

/// The attempts of jobs, to be followed by their identities.
pub(super) const ATTEMPTS_OF_JOBS: &str = "
    -- attempts_of_jobs
    select job_id, attempt, token, resume_step, parent_attempt, reserved_end, reporting_ranks, create_time
    from attempts where job_id in (";

/// The snapshots of jobs, to be followed by their identities.
pub(super) const STATES_OF_JOBS: &str = "
    -- states_of_jobs
    select job_id, attempt, next_seq, state,
        exists (
            select 1 from telemetry
            where telemetry.job_id = job_state.job_id and telemetry.attempt = job_state.attempt and seq >= next_seq
        ) as is_behind
    from job_state where job_id in (";

/// How many jobs that have not ended were last active before `$1`, before `$2`, or later. The states are written out so
/// that the planner sees that the index `jobs_unended_by_activity` has them all.
pub(super) const COUNT_JOBS: &str = "
    -- count_jobs
    select state, cast(case when active_time >= $1 then 0 when active_time >= $2 then 1 else 2 end as bigint) as idle,
        count(*) as job_count
    from jobs
    where state not in ('COMPLETED', 'FAILED', 'CANCELLED')
    group by state, idle
    order by state, idle";

pub(super) const JOB_BY_NAME: &str = "
    -- job_by_name
    select id, name, cast(initial_spec as text) as initial_spec, cast(spec as text) as spec, state, state_reason,
        state_author, version, request_id, cast(forked_from as text) as forked_from, create_time, update_time, end_time,
        telemetry_removed_time
    from jobs where name = $1";

pub(super) const JOB_BY_ID: &str = "
    -- job_by_id
    select id, name, cast(initial_spec as text) as initial_spec, cast(spec as text) as spec, state, state_reason,
        state_author, version, request_id, cast(forked_from as text) as forked_from, create_time, update_time, end_time,
        telemetry_removed_time
    from jobs where id = $1";

/// From the index `jobs_by_state` alone.
pub(super) const COUNT_ENDED_JOBS: &str = "
    -- count_ended_jobs
    select state, count(*) as job_count from jobs
    where state in ('COMPLETED', 'FAILED', 'CANCELLED')
    group by state";
/// All jobs, for an inspection.
pub(super) const ALL_JOBS: &str = "
    -- all_jobs
    select id, name, cast(initial_spec as text) as initial_spec, cast(spec as text) as spec, state, state_reason,
        state_author, version, request_id, cast(forked_from as text) as forked_from, create_time, update_time, end_time,
        telemetry_removed_time
    from jobs where id > $1 order by id limit $2";

/// Rows that belong to a job, or an attempt of it, that is not there: table, job and how many.
pub(super) const ORPHANS: &str = "
    -- orphans
    select 'attempts' as place, job_id, count(*) as row_count from attempts
        where not exists (select 1 from jobs where id = job_id) group by job_id
    union all
    select 'decisions' as place, job_id, count(*) as row_count from decisions
        where not exists (select 1 from jobs where id = job_id) group by job_id
    union all
    select 'job_state' as place, job_id, count(*) as row_count from job_state
        where not exists (select 1 from jobs where id = job_id) group by job_id
    union all
    select 'telemetry' as place, job_id, count(*) as row_count from telemetry
        where not exists (select 1 from jobs where id = job_id) group by job_id";

pub(super) const DELETE_TELEMETRY_OF_JOB: &str = "
    -- delete_telemetry_of_job
    delete from telemetry where job_id = $1";

pub(super) const DELETE_JOB: &str = "
    -- delete_job
    delete from jobs where id = $1";

pub(super) const ATTEMPTS: &str = "
    -- attempts
    select attempt, token, resume_step, parent_attempt, reserved_end, reporting_ranks, create_time
    from attempts where job_id = $1 order by attempt";

pub(super) const INSERT_ATTEMPT: &str = "
    -- insert_attempt
    insert into attempts (job_id, attempt, token, resume_step, parent_attempt, reserved_end, reporting_ranks, create_time,
        epoch)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9)
    on conflict (job_id, attempt) do nothing";

/// One attempt.
pub(super) const ATTEMPT: &str = "
    -- attempt
    select attempt, token, resume_step, parent_attempt, reserved_end, reporting_ranks, create_time
    from attempts where job_id = $1 and attempt = $2";

pub(super) const COPY_ATTEMPTS: &str = "
    -- copy_attempts
    insert into attempts (job_id, attempt, token, resume_step, parent_attempt, reserved_end, reporting_ranks, create_time,
        epoch)
    select $1, attempt, 'of the job forked: ' || token, resume_step, parent_attempt, reserved_end, reporting_ranks,
        create_time, epoch
    from attempts where job_id = $2 and attempt <= $3";

pub(super) const RESERVE: &str = "
    -- reserve
    update attempts set reserved_end = $3 where job_id = $1 and attempt = $2";

/// An order of an attempt before the one forked counts there from no later than that attempt's first step, wherever it
/// was to take effect.
pub(super) const COPY_DECISIONS: &str = "
    -- copy_decisions
    insert into decisions (job_id, id, attempt, step, effective_step, author_kind, author, reason, evidence, effect,
        request_id, create_time, epoch)
    select $1, id, attempt, step, effective_step, author_kind, author, reason, evidence, effect, request_id, create_time,
        epoch
    from decisions
    where job_id = $2 and attempt <= $3 and (effective_step < $4 or (author_kind = 'person' and attempt < $3))
    order by position";

/// `$2`, `$3`: the attempt, or null for all; the position to begin after.
pub(super) const DECISIONS: &str = "
    -- decisions
    select position, id, attempt, step, effective_step, author_kind, author, reason, cast(evidence as text) as evidence,
        cast(effect as text) as effect, request_id, create_time
    from decisions
    where job_id = $1 and ($2 is null or attempt = $2) and position > $3
    order by position limit $4";

/// As [`DECISIONS`], but only people's. The author is written out so that the planner sees that the index
/// `decisions_by_people` has them all.
pub(super) const PERSON_DECISIONS: &str = "
    -- person_decisions
    select position, id, attempt, step, effective_step, author_kind, author, reason, cast(evidence as text) as evidence,
        cast(effect as text) as effect, request_id, create_time
    from decisions
    where job_id = $1 and ($2 is null or attempt = $2) and author_kind = 'person' and position > $3
    order by position limit $4";

/// One decision.
pub(super) const DECISION: &str = "
    -- decision
    select position, id, attempt, step, effective_step, author_kind, author, reason, cast(evidence as text) as evidence,
        cast(effect as text) as effect, request_id, create_time
    from decisions where job_id = $1 and id = $2";

pub(super) const INSERT_CHANGE: &str = "
    -- insert_change
    insert into changes (id, job_id, job_name, kind, detail, author, origin, reason, step, decision, request_id,
        fingerprint, create_time)
    values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13)
    on conflict do nothing";

pub(super) const CHANGE: &str = "
    -- change
    select position, id, job_id, job_name, kind, detail, author, origin, reason, step, decision, request_id,
        fingerprint, create_time
    from changes where id = $1";

pub(super) const FORGET_UPDATES: &str = "
    -- forget_updates
    delete from changes
    where job_id = $1 and kind = 'UPDATED' and position <= (
        select position from changes where job_id = $1 and kind = 'UPDATED' order by position desc limit 1 offset $2
    )";

pub(super) const CHANGES: &str = "
    -- changes
    select position, id, job_id, job_name, kind, detail, author, origin, reason, step, decision, request_id,
        fingerprint, create_time
    from changes where job_name = $1 and position > $2 order by position limit $3";

pub(super) const CHANGE_BY_REQUEST: &str = "
    -- change_by_request
    select position, id, job_id, job_name, kind, detail, author, origin, reason, step, decision, request_id,
        fingerprint, create_time
    from changes where job_name = $1 and request_id = $2 order by position desc limit 1";

/// All changes of some of the jobs that were deleted before a time.
pub(super) const REMOVE_CHANGES: &str = "
    -- remove_changes
    delete from changes
    where job_id in (
        select job_id from changes where kind = 'DELETED' and create_time < $1 order by create_time limit $2
    )";

pub(super) const COPY_TELEMETRY: &str = "
    -- copy_telemetry
    insert into telemetry (job_id, attempt, seq, rank, through_step, first_step, last_step, arrivals, epoch, steps, loss,
        grad_norm, learning_rate, metric_names, metric_indices, metric_steps, metric_values)
    select $1, attempt, seq, rank, through_step, first_step, last_step, arrivals, epoch, steps, loss, grad_norm,
        learning_rate, metric_names, metric_indices, metric_steps, metric_values
    from telemetry where job_id = $2 and attempt <= $3";

pub(super) const TELEMETRY: &str = "
    -- telemetry
    select attempt, seq, rank, through_step, first_step, last_step, arrivals, epoch, steps, loss, grad_norm,
        learning_rate, metric_names, metric_indices, metric_steps, metric_values
    from telemetry where job_id = $1 and attempt = $2 and seq >= $3
    order by seq limit $4";

pub(super) const TELEMETRY_OF_STEPS: &str = "
    -- telemetry_of_steps
    select attempt, seq, rank, through_step, first_step, last_step, arrivals, epoch, steps, loss, grad_norm,
        learning_rate, metric_names, metric_indices, metric_steps, metric_values
    from telemetry where job_id = $1 and attempt = $2 and first_step < $4 and last_step >= $3 and seq >= $5
    order by seq limit $6";

/// The first alternative ends at the first chunk in most cases, the second only has to be looked at within a gap.
pub(super) const NEXT_TELEMETRY_STEP: &str = "
    -- next_telemetry_step
    select case
        when exists (
            select 1 from telemetry where job_id = $1 and attempt = $2 and last_step >= $3 and first_step <= $3
        ) then $3
        else (select min(first_step) from telemetry where job_id = $1 and attempt = $2 and last_step >= $3)
    end";

pub(super) const STATE: &str = "
    -- state
    select attempt, next_seq, state from job_state where job_id = $1";

pub(super) const SAVE_STATE: &str = "
    -- save_state
    insert into job_state (job_id, attempt, next_seq, state) values ($1, $2, $3, $4)
    on conflict (job_id) do update
    set attempt = excluded.attempt, next_seq = excluded.next_seq, state = excluded.state";

pub(super) const MARK_ACTIVE: &str = "
    -- mark_active
    update jobs set active_time = $2 where id = $1 and active_time < $2";

pub(super) const DELETE_CHUNKS: &str = "
    -- delete_chunks
    delete from telemetry where job_id = $1 and attempt = $2 and rank = $3 and seq between $4 and $5";

/// Whether telemetry of a job has been removed, all or some.
pub(super) const LACKS_TELEMETRY: &str = "
    -- lacks_telemetry
    select count(*) from jobs where id = $1 and telemetry_removed_time is not null";

pub(super) const MARK_REMOVAL: &str = "
    -- mark_removal
    update jobs set telemetry_removed_time = coalesce(telemetry_removed_time, $2) where id = $1";

pub(super) const REMOVE_CHUNKS: &str = "
    -- remove_chunks
    delete from telemetry
    where job_id = $1
        and (attempt, seq) in (select attempt, seq from telemetry where job_id = $1 order by attempt, seq limit $2)";

pub(super) const FINISH_REMOVAL: &str = "
    -- finish_removal
    update jobs set keeps_telemetry = false where id = $1";

pub(super) const DELETE_STATE: &str = "
    -- delete_state
    delete from job_state where job_id = $1";
