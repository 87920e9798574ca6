-- How many arrivals a chunk stands for, so that a chunk that is missing shows: `seq` alone has gaps after a merge.
--
-- Where it is known for all chunks of an attempt, their sum is one more than the highest `seq`.

alter table telemetry add column arrivals bigint; -- chunks as they arrived that were merged into this one, itself too; null: not counted
