-- The first schema: jobs, their attempts, decisions, telemetry and snapshots.
--
-- The same tables and columns as in PostgreSQL; identifiers are blobs of 16 bytes, JSON is text, and arrays are blobs.
-- Times are microseconds since the Unix epoch, given by the server's clock. Steps are 0-based optimizer updates, at
-- most 2^53 - 1. Names compare by bytes.

create table jobs (
    id blob primary key not null check (length(id) = 16), -- the server's identifier; a job created again gets another
    name text not null unique,                  -- namespaces/{namespace}/jobs/{job}
    namespace text not null,                    -- the namespace in `name`
    initial_spec text not null,                 -- JSON: the spec it was registered with
    spec text not null,                         -- JSON: the spec with the decisions about it applied
    display_name text not null,                 -- of `spec`, for filters
    experiment text not null,                   -- of `spec`, for filters; empty for none
    arm text not null,                          -- of `spec`, for filters: scheduled, baseline, or empty for none
    labels text not null,                       -- of `spec`, for filters: a JSON object of strings
    state text not null,                        -- PENDING, RUNNING, PAUSED, COMPLETED, FAILED or CANCELLED
    state_reason text not null,                 -- why it is in that state, by whoever changed it last
    version integer not null,                   -- rises by one with every change of spec, state or attempt
    request_id text,                            -- the request it was created by; null if that had no identifier
    forked_from text,                           -- JSON: job, attempt and step it was forked from; null if it was not
    create_time integer not null,               -- when it was registered, microseconds
    update_time integer not null,               -- when spec, state or attempt last changed, microseconds
    end_time integer                            -- when it ended, microseconds; null before
) strict;
create index jobs_by_namespace on jobs (namespace, name);
create index jobs_by_create_time on jobs (create_time, id);
create index jobs_by_update_time on jobs (update_time, id);
create index jobs_by_experiment on jobs (experiment) where experiment <> '';
create index jobs_unended on jobs (id) where state not in ('COMPLETED', 'FAILED', 'CANCELLED');

create table attempts (
    job_id blob not null references jobs (id) on delete cascade, -- whose attempt it is
    attempt integer not null,                   -- counted from 1
    token text not null,                        -- the token it was started with
    resume_step integer not null,               -- the first step it trains
    parent_attempt integer not null,            -- whose history below `resume_step` it shares; 0 for none
    reserved_end integer not null,              -- a step; all that may ever have been given out as final lie below it
    create_time integer not null,               -- when it was started, microseconds
    primary key (job_id, attempt),
    unique (job_id, token)
) strict;

create table decisions (
    position integer primary key autoincrement, -- rises in the order in which decisions were recorded, with gaps
    job_id blob not null references jobs (id) on delete cascade, -- whose rate it changes
    id text not null,                           -- p{seq} of a person, a{attempt}-s{step}-c{controller} of a controller
    attempt integer not null,                   -- the attempt it was taken in; 0 before the first
    step integer not null,                      -- the newest step it knows of
    effective_step integer not null,            -- the first step whose directive it changes
    author_kind text not null,                  -- person or controller
    author text not null,                       -- the person's name, or {place}/{kind} of the controller
    reason text not null,                       -- a person's reason, or a controller's evidence in words
    evidence text not null,                     -- JSON: figures by name; NaN and infinities are strings
    effect text not null,                       -- JSON: what it does
    request_id text,                            -- the identifier a person gave; null if there was none
    create_time integer not null,               -- when it was taken, or for a controller's first stored, microseconds
    unique (job_id, id)
) strict;
create index decisions_by_position on decisions (job_id, position);

-- Chunks of samples in columns, little-endian. `steps` has 8 bytes a sample. A column of figures has a bit a sample
-- that says whether it was reported (bit `i % 8` of byte `i / 8`), then 8 bytes for each that was; a null column says
-- that none was. Named metrics are sparse: three blobs with one element a value, series after series.
create table telemetry (
    job_id blob not null references jobs (id) on delete cascade, -- whose telemetry it is
    attempt integer not null,                   -- the attempt
    seq integer not null,                       -- order of arrival within job and attempt; rises, with gaps after a merge
    rank integer not null,                      -- the reporting rank
    through_step integer,                       -- no more would come of this rank at or below this step; null: not said
    first_step integer,                         -- lowest of `steps`; null if there are none
    last_step integer,                          -- highest of `steps`; null if there are none
    steps blob not null,                        -- 64-bit integers: steps, rising
    loss blob,                                  -- doubles: training loss
    grad_norm blob,                             -- doubles: norm of the whole gradient before clipping
    learning_rate blob,                         -- doubles: the rate that was really used
    metric_names text not null,                 -- JSON array of strings: names of the other metrics, rising
    metric_indices blob not null,               -- 32-bit integers: which of `metric_names` a value belongs to, from 1
    metric_steps blob not null,                 -- 64-bit integers: which step it belongs to
    metric_values blob not null,                -- doubles, all there: the value
    primary key (job_id, attempt, seq)
) strict;
create index telemetry_by_step on telemetry (job_id, attempt, last_step);

create table job_state (
    job_id blob primary key not null references jobs (id) on delete cascade, -- whose snapshot it is
    attempt integer not null,                   -- the attempt it belongs to
    next_seq integer not null,                  -- chunks with a lower `seq` are in it
    state text not null                         -- the engine's snapshot, opaque here
) strict;
