//! What the formats have in common: they take rows.

use crate::{error::Error, rows::Rows};

/// A table in some format.
pub(crate) trait Sink {
    /// Writes rows.
    fn write(&mut self, rows: Rows) -> Result<(), Error>;
    /// Writes the rest, and the end of the file.
    fn finish(self: Box<Self>) -> Result<(), Error>;
}
