-- Who changed a job, when, why and by which way: every change by people and programs, decisions about its rate
-- included. Nothing is computed from them. They outlive the job, so there is no foreign key to `jobs`.

create table changes (
    position integer primary key autoincrement, -- rises in the order in which changes were recorded, with gaps
    id blob not null unique,                    -- the change's identifier, the same when it is written again
    job_id blob not null,                       -- the job that was changed; it may be deleted
    job_name text not null,                     -- the name that it had
    kind text not null,                         -- what was done: CREATED, UPDATED, PAUSED, …
    detail text not null,                       -- particulars in words; empty if the kind says it all
    author text not null,                       -- who, by the name that the request gave
    origin text not null,                       -- by which way: API, CLI, PAGE, STUDY, TRAINER or SERVER
    reason text not null,                       -- why, by the author
    step integer,                               -- from which step on it counts; null if it is about no step
    decision text,                              -- `id` of the decision that it is too; null if it is none
    request_id text,                            -- the identifier that the author gave to the request; null for none
    fingerprint integer not null,               -- of what was asked for, to tell a repeat from another request
    create_time integer not null                -- when it was made, microseconds
) strict;
create index changes_by_job on changes (job_id, position);
create index changes_by_name on changes (job_name, position);
create unique index changes_by_request on changes (job_name, request_id, job_id) where request_id is not null;
create index changes_of_deletions on changes (create_time) where kind = 'DELETED';

-- What is known of the time before.
insert into changes (id, job_id, job_name, kind, detail, author, origin, reason, step, decision, fingerprint,
    create_time)
select randomblob(16), job_id, job_name, kind, '', author, 'API', reason, step, decision, 0, create_time
from (
    select id as job_id, name as job_name, 'CREATED' as kind, '' as author, '' as reason, cast(null as integer) as step,
        cast(null as text) as decision, create_time
    from jobs
    union all
    select job_id, name,
        case
            when cast(effect as text) = '"pause"' then 'PAUSED'
            when cast(effect as text) = '"resume"' then 'RESUMED'
            when cast(effect as text) = '"clear_override"' then 'OVERRIDE_CLEARED'
            when cast(effect as text) like '{"override"%' then 'OVERRIDDEN'
            when cast(effect as text) like '{"advice"%' then 'STOP_ADVISED'
            when cast(effect as text) like '{"withdraw_advice"%' then 'STOP_WITHDRAWN'
            else 'SPEC_CHANGED'
        end, author, reason, effective_step, decisions.id, decisions.create_time
    from decisions join jobs on jobs.id = decisions.job_id where author_kind = 'person'
    union all
    select id, name, state, state_author, state_reason, null, null, end_time from jobs where end_time is not null
)
order by create_time;

create index jobs_by_state on jobs (state);     -- for counting them
