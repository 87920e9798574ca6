-- Who may write. The owner's epoch is proven in every commit, so a process that another one has replaced can write
-- nothing; and each row says of which epoch it is, so what such a process wrote all the same shows.

create table ownership (
    epoch integer primary key not null,         -- rises with every acquisition
    sequence integer not null,                  -- commits so far; a commit proves that all commits before it are there
    process blob not null check (length(process) = 16), -- random, of the process that acquired it last
    host text not null,                         -- where that process runs, for messages
    pid integer not null,                       -- the number of that process, for messages
    acquire_time integer not null,              -- when it was acquired, microseconds
    acquire_sequence integer not null           -- commits when it was acquired
) strict;
insert into ownership (epoch, sequence, process, host, pid, acquire_time, acquire_sequence)
values (0, 0, zeroblob(16), '', 0, 0, 0);

alter table attempts add column epoch integer not null default 0; -- of the owner that stored it; 0: from before there were epochs
alter table decisions add column epoch integer not null default 0; -- of the owner that stored it; 0: from before there were epochs
alter table telemetry add column epoch integer not null default 0; -- of the owner that stored it, or the last of its parts; 0: from before there were epochs
