-- A trainer that comes back with another number of processes says how many of them report.

alter table attempts add column reporting_ranks integer; -- as the trainer said at the start of the attempt; null: as the spec says
