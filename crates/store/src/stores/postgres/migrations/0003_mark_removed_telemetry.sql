-- Telemetry of ended jobs goes when it is older than its namespace's retention. The job says so, from the transaction on
-- that removes the first of it: what is left after that is not the whole.

alter table jobs add column telemetry_removed_time bigint; -- when its removal began, microseconds; null: all of it is there
alter table jobs add column keeps_telemetry boolean not null default true; -- whether rows of `telemetry` may be left of it
create index jobs_keeping_telemetry on jobs (end_time) where end_time is not null and keeps_telemetry;
