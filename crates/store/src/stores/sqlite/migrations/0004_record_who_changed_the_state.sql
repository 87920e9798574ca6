-- Who paused, resumed or ended a job; of pauses and resumptions the decisions say so too, of an end nothing else did.

alter table jobs add column state_author text not null default ''; -- who changed the state last; empty: nobody, or an older release
