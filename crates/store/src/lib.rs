//! What survives: one trait and a table of databases. A store remembers; it decides nothing.
//!
//! Telemetry and people's decisions are the truth; [`StateRow`] only makes recovery fast. A database is named by its
//! [`DatabaseUrl`]; what is particular to its kind is in the kind's folder below `stores/`.

mod arrival;
mod columns;
mod commit;
mod dialect;
mod ending;
mod error;
mod failure;
#[doc(hidden)]
pub mod fuzz;
pub mod inspection;
mod kind;
mod listing;
mod merge;
mod ownership;
mod reading;
mod records;
mod removal;
mod rows;
mod schema;
mod sql;
mod statements;
mod store;
mod stores;
mod url;
mod write;
mod writer;

pub use error::Error;
pub use kind::{Damage, Kind};
pub use records::{
    ChangeQuery, ChangeRow, Chunk, DecisionQuery, DecisionRow, JobCount, JobRecord, ListedJob, LoadedJob, StateRow,
};
pub use removal::{ExpiredJob, ExpiryQuery, Namespaces, Removal};
pub use schema::{Migration, Schema};
pub use store::{MayCommit, Store};
pub use url::{DatabaseUrl, InvalidUrl, database_urls, kinds, newest_schema_version};
pub use write::{MAX_UPDATES, Outcome, Write};
