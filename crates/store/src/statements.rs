//! Statements that are the same in all databases.
//!
//! JSON is read as text: `cast(… as text)` is what a `json` column needs in PostgreSQL, and changes nothing in SQLite.

/// The columns of [`StoredJob`](super::rows::job::StoredJob), to be followed by conditions.
pub(super) const JOBS: &str = "
    select id, name, cast(initial_spec as text) as initial_spec, cast(spec as text) as spec, state, state_reason,
        state_author, version, request_id, cast(forked_from as text) as forked_from, create_time, update_time, end_time,
        telemetry_removed_time
    from jobs";

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
pub(super) const COUNT_JOBS: &str = "
    -- count_jobs
    select state, count(*) as job_count from jobs group by state";

/// The states are written out so that the planner sees that the index `jobs_unended` has them all.
pub(super) const UNENDED_JOBS: &str = "
    -- unended_jobs
    select id, name, cast(initial_spec as text) as initial_spec, cast(spec as text) as spec, state, state_reason,
        state_author, version, request_id, cast(forked_from as text) as forked_from, create_time, update_time, end_time,
        telemetry_removed_time
    from jobs
    where state not in ('COMPLETED', 'FAILED', 'CANCELLED') and id > $1
    order by id limit $2";

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
    select attempt, token, resume_step, parent_attempt, reserved_end, create_time
    from attempts where job_id = $1 order by attempt";

pub(super) const INSERT_ATTEMPT: &str = "
    -- insert_attempt
    insert into attempts (job_id, attempt, token, resume_step, parent_attempt, reserved_end, create_time, epoch)
    values ($1, $2, $3, $4, $5, $6, $7, $8)
    on conflict (job_id, attempt) do nothing";

/// One attempt.
pub(super) const ATTEMPT: &str = "
    -- attempt
    select attempt, token, resume_step, parent_attempt, reserved_end, create_time
    from attempts where job_id = $1 and attempt = $2";

pub(super) const COPY_ATTEMPTS: &str = "
    -- copy_attempts
    insert into attempts (job_id, attempt, token, resume_step, parent_attempt, reserved_end, create_time, epoch)
    select $1, attempt, 'of the job forked: ' || token, resume_step, parent_attempt, reserved_end, create_time, epoch
    from attempts where job_id = $2 and attempt <= $3";

pub(super) const RESERVE: &str = "
    -- reserve
    update attempts set reserved_end = $3 where job_id = $1 and attempt = $2";

pub(super) const COPY_DECISIONS: &str = "
    -- copy_decisions
    insert into decisions (job_id, id, attempt, step, effective_step, author_kind, author, reason, evidence, effect,
        request_id, create_time, epoch)
    select $1, id, attempt, step, effective_step, author_kind, author, reason, evidence, effect, request_id, create_time,
        epoch
    from decisions
    where job_id = $2 and attempt <= $3 and effective_step < $4
    order by position";

/// `$2`, `$3`, `$4`: the attempt, or null for all; whether only people's; the position to begin after.
pub(super) const DECISIONS: &str = "
    -- decisions
    select position, id, attempt, step, effective_step, author_kind, author, reason, cast(evidence as text) as evidence,
        cast(effect as text) as effect, request_id, create_time
    from decisions
    where job_id = $1 and ($2 is null or attempt = $2) and (not $3 or author_kind = 'person') and position > $4
    order by position limit $5";

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
