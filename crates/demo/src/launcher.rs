//! Which program the demo starts, and the directory for its files.

use std::path::PathBuf;

/// Starts the demo's processes: the private server and the trainers.
pub struct Launcher {
    /// The `lrs` program.
    pub program: PathBuf,
    /// Where logs go, and the private server's database.
    pub directory: PathBuf,
}

impl Launcher {
    /// The log of the process `name`.
    pub fn log(&self, name: &str) -> PathBuf {
        self.directory.join(format!("{name}.log"))
    }
}
