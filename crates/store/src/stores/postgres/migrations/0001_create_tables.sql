-- The first schema: jobs, their attempts, decisions, telemetry and snapshots.
--
-- Every key leads with the job, so that all tables but `jobs` distribute by it. Times are microseconds since the Unix
-- epoch, given by the server's clock. Steps are 0-based optimizer updates, at most 2^53 - 1. Names compare by bytes
-- (collation "C"), so that pages are the same on every machine.
--
-- Specs, effects and evidence are `json`, not `jsonb`: jsonb keeps numbers as `numeric`, which has no -0.0, and every
-- bit of a rate must survive.

create table jobs (
    id uuid primary key,                        -- the server's identifier; a job created again under its name gets another
    name text collate "C" not null unique,      -- namespaces/{namespace}/jobs/{job}
    namespace text collate "C" not null,        -- the namespace in `name`
    initial_spec json not null,                 -- the spec it was registered with
    spec json not null,                         -- the spec with the decisions about it applied
    display_name text collate "C" not null,     -- of `spec`, for filters
    experiment text collate "C" not null,       -- of `spec`, for filters; empty for none
    arm text collate "C" not null,              -- of `spec`, for filters: scheduled, baseline, or empty for none
    labels jsonb not null,                      -- of `spec`, for filters: an object of strings
    state text collate "C" not null,            -- PENDING, RUNNING, PAUSED, COMPLETED, FAILED or CANCELLED
    state_reason text not null,                 -- why it is in that state, by whoever changed it last
    version bigint not null,                    -- rises by one with every change of spec, state or attempt
    request_id text,                            -- the request it was created by; null if that had no identifier
    forked_from json,                           -- job, attempt and step it was forked from; null if it was not
    create_time bigint not null,                -- when it was registered, microseconds
    update_time bigint not null,                -- when spec, state or attempt last changed, microseconds
    end_time bigint                             -- when it ended, microseconds; null before
);
create index jobs_by_namespace on jobs (namespace, name);
create index jobs_by_create_time on jobs (create_time, id);
create index jobs_by_update_time on jobs (update_time, id);
create index jobs_by_experiment on jobs (experiment) where experiment <> '';
create index jobs_unended on jobs (id) where state not in ('COMPLETED', 'FAILED', 'CANCELLED');

create table attempts (
    job_id uuid not null references jobs (id) on delete cascade, -- whose attempt it is
    attempt bigint not null,                    -- counted from 1
    token text not null,                        -- the token it was started with
    resume_step bigint not null,                -- the first step it trains
    parent_attempt bigint not null,             -- whose history below `resume_step` it shares; 0 for none
    reserved_end bigint not null,               -- a step; all that may ever have been given out as final lie below it
    create_time bigint not null,                -- when it was started, microseconds
    primary key (job_id, attempt),
    unique (job_id, token)
);

create table decisions (
    job_id uuid not null references jobs (id) on delete cascade, -- whose rate it changes
    position bigint generated always as identity, -- rises in the order in which decisions were recorded, with gaps
    id text collate "C" not null,               -- p{seq} of a person, a{attempt}-s{step}-c{controller} of a controller
    attempt bigint not null,                    -- the attempt it was taken in; 0 before the first
    step bigint not null,                       -- the newest step it knows of
    effective_step bigint not null,             -- the first step whose directive it changes
    author_kind text not null,                  -- person or controller
    author text not null,                       -- the person's name, or {place}/{kind} of the controller
    reason text not null,                       -- a person's reason, or a controller's evidence in words
    evidence json not null,                     -- figures by name; NaN and infinities are strings
    effect json not null,                       -- what it does
    request_id text,                            -- the identifier a person gave; null if there was none
    create_time bigint not null,                -- when it was taken, or for a controller's first stored, microseconds
    primary key (job_id, position),
    unique (job_id, id)
);

-- Chunks of samples in columns. An array has one element a sample, in the order of `steps`; a null element was not
-- reported, and a null array says that of all. NaN and infinities are values. Named metrics are sparse: four arrays of
-- one length, an element a value, series after series:
--
--     select t.metric_names[m.name], m.step, m.value
--     from telemetry t, unnest(t.metric_indices, t.metric_steps, t.metric_values) as m (name, step, value)
--
-- There is no foreign key to `jobs`: it would look at the job again for each chunk. A commit locks its jobs once instead.
create table telemetry (
    job_id uuid not null,                       -- whose telemetry it is
    attempt bigint not null,                    -- the attempt
    seq bigint not null,                        -- order of arrival within job and attempt; rises, with gaps after a merge
    rank bigint not null,                       -- the reporting rank
    through_step bigint,                        -- no more would come of this rank at or below this step; null: not said
    first_step bigint,                          -- lowest of `steps`; null if there are none
    last_step bigint,                           -- highest of `steps`; null if there are none
    steps bigint[] not null,                    -- steps, rising
    loss double precision[],                    -- training loss
    grad_norm double precision[],               -- norm of the whole gradient before clipping
    learning_rate double precision[],           -- the rate that was really used
    metric_names text[] not null,               -- names of the other metrics, rising
    metric_indices integer[] not null,          -- which of `metric_names` a value belongs to, from 1
    metric_steps bigint[] not null,             -- which step it belongs to
    metric_values double precision[] not null,  -- the value
    primary key (job_id, attempt, seq)
);
create index telemetry_by_step on telemetry (job_id, attempt, last_step);

create table job_state (
    job_id uuid primary key references jobs (id) on delete cascade, -- whose snapshot it is
    attempt bigint not null,                    -- the attempt it belongs to
    next_seq bigint not null,                   -- chunks with a lower `seq` are in it
    state text not null                         -- the engine's snapshot, opaque here
);
