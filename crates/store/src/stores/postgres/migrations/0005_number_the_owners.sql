-- Who may write. The owner's epoch is proven in every commit, so a process that another one has replaced can write
-- nothing; and each row says of which epoch it is, so what such a process wrote all the same shows.

create table ownership (
    epoch bigint primary key,                   -- rises with every acquisition; the key, so that an acquisition waits for those who prove it
    sequence bigint not null,                   -- commits so far; a commit proves that all commits before it are there
    process uuid not null,                      -- random, of the process that acquired it last
    host text not null,                         -- where that process runs, for messages
    pid bigint not null,                        -- the number of that process, for messages
    acquire_time bigint not null,               -- when it was acquired, microseconds
    acquire_sequence bigint not null            -- commits when it was acquired
);
insert into ownership (epoch, sequence, process, host, pid, acquire_time, acquire_sequence)
values (0, 0, '00000000-0000-0000-0000-000000000000', '', 0, 0, 0);

alter table attempts add column epoch bigint not null default 0; -- of the owner that stored it; 0: from before there were epochs
alter table decisions add column epoch bigint not null default 0; -- of the owner that stored it; 0: from before there were epochs
alter table telemetry add column epoch bigint not null default 0; -- of the owner that stored it, or the last of its parts; 0: from before there were epochs
