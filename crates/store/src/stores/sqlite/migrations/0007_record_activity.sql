-- A server reads a job when somebody asks for it, so what is said of the others has to be in their rows.

alter table jobs add column active_time integer not null default 0; -- the last call of its trainer, to some minutes, or change of the job; microseconds
update jobs set active_time = update_time;
drop index jobs_unended;
create index jobs_unended_by_activity on jobs (state, active_time) where state not in ('COMPLETED', 'FAILED', 'CANCELLED');
create index decisions_by_people on decisions (job_id, position) where author_kind = 'person';
