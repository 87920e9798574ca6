//! Files that are there whole or not at all.

use std::{
    fs::{self, File},
    io::{self, BufWriter},
    path::{Path, PathBuf},
};

use serde_json::Value;

use crate::error::Error;

/// A new file that takes the name `path` once it is [`complete`].
pub(crate) fn create(path: &Path) -> Result<BufWriter<File>, Error> {
    File::create(part_of(path)).map(BufWriter::new).map_err(|error| unwritable(path, error))
}

/// Lets a file take its name, in place of the file that had it.
pub(crate) fn complete(path: &Path) -> Result<(), Error> {
    fs::rename(part_of(path), path).map_err(|error| unwritable(path, error))
}

/// Makes a directory, and those that it is in.
pub(crate) fn create_directory(path: &Path) -> Result<(), Error> {
    fs::create_dir_all(path).map_err(|error| unwritable(path, error))
}

/// The name of a file until it is whole.
fn part_of(path: &Path) -> PathBuf {
    with_ending(path, ".part")
}

/// `path` with `ending` after its name.
pub(crate) fn with_ending(path: &Path, ending: &str) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(ending);
    name.into()
}

/// Writes a JSON document.
pub(crate) fn write_document(path: &Path, document: &Value) -> Result<(), Error> {
    fs::write(path, format!("{document:#}\n")).map_err(|error| unwritable(path, error))
}

fn unwritable(path: &Path, source: io::Error) -> Error {
    Error::File { path: path.to_owned(), source }
}
