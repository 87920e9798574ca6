//! The connections of both listeners. Everything about them is bounded: how many are open, how long a caller may keep
//! the server waiting, and the bytes that are on their way in and out.
//!
//! A call holds its slot and the memory of its answer until the last byte has been written, or the caller has been cut
//! off: see [`hold`]. Who does not go on reading or sending is cut off after a time-out, and sooner while others are
//! refused ([`Pressure`]). Over HTTP/2 that resets the stream; the other streams of the connection go on.

mod accept;
mod answer;
mod budget;
mod call;
mod outbox;
mod pressure;
mod request;
mod serve;
mod socket;

pub use accept::raise_open_files;
pub use answer::AnswerBody;
pub use budget::{Budget, UsedUp};
pub use call::hold;
pub use pressure::Pressure;
pub use request::{Reading, RequestBody, Unread};
pub use serve::{Bounds, Interface, serve};
