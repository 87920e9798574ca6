//! The database's file, and the lock beside it that keeps it to one process.

use std::{
    fs::{DirBuilder, File, OpenOptions, TryLockError},
    io,
    path::{Path, PathBuf},
};

use crate::Error;

/// Makes sure that the file is there, for its owner alone if it is new.
pub(super) fn create(path: &Path) -> Result<(), Error> {
    private_file().open(path).map_err(|error| unavailable(path, &error))?;
    Ok(())
}

/// Makes sure that the directory of the file is there, for its owner alone if it is new.
pub(super) fn create_parent(path: &Path) -> Result<(), Error> {
    if let Some(parent) = path.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        let mut directories = DirBuilder::new();
        directories.recursive(true);
        #[cfg(unix)]
        std::os::unix::fs::DirBuilderExt::mode(&mut directories, 0o700);
        directories.create(parent).map_err(|error| unavailable(parent, &error))?;
    }
    Ok(())
}

/// Takes the lock; it lasts as long as the file that is returned stays open. `None` if another process has it.
pub(super) fn lock(path: &Path) -> Result<Option<File>, Error> {
    let lock_path = lock_path(path);
    let file = private_file().open(&lock_path).map_err(|error| unavailable(&lock_path, &error))?;
    match file.try_lock() {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Ok(None),
        Err(TryLockError::Error(error)) => Err(unavailable(&lock_path, &error)),
    }
}

/// Which file is at a path: another one, once it has been replaced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(Option<(u64, u64)>);

impl Identity {
    /// The file at `path` now. Where files have no numbers, all are the same.
    pub(super) fn of(path: &Path) -> Result<Self, Error> {
        let metadata = std::fs::metadata(path).map_err(|error| unavailable(path, &error))?;
        #[cfg(unix)]
        let numbers = {
            use std::os::unix::fs::MetadataExt as _;
            Some((metadata.dev(), metadata.ino()))
        };
        #[cfg(not(unix))]
        let numbers = metadata.is_file().then_some((0, 0));
        Ok(Self(numbers))
    }
}

fn unavailable(path: &Path, error: &io::Error) -> Error {
    let why = format!("{}: {error}", path.display());
    match error.kind() {
        io::ErrorKind::PermissionDenied
        | io::ErrorKind::AlreadyExists
        | io::ErrorKind::NotADirectory
        | io::ErrorKind::IsADirectory => Error::denied(why),
        // A volume that is not there yet, is read only for now, or is full.
        _ => Error::unavailable(why),
    }
}

fn lock_path(path: &Path) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(".lock");
    name.into()
}

fn private_file() -> OpenOptions {
    let mut options = OpenOptions::new();
    options.read(true).write(true).create(true).truncate(false);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options
}
