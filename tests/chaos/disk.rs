//! A small file system, which can run full.

use std::{
    fs::File,
    io::Write as _,
    path::{Path, PathBuf},
    process::Command,
};

/// A file system of a few megabytes, unmounted when dropped.
pub struct SmallDisk(tempfile::TempDir);

impl SmallDisk {
    /// `None` if this process may not mount a file system.
    pub fn mount() -> Option<Self> {
        let directory = tempfile::tempdir().unwrap();
        let mounted = Command::new("mount")
            .args(["-t", "tmpfs", "-o", "size=64m", "lrs-chaos"])
            .arg(directory.path())
            .output()
            .is_ok_and(|output| output.status.success());
        mounted.then(|| Self(directory))
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Fills the disk with a file, and returns its path.
    pub fn fill(&self) -> PathBuf {
        let path = self.path().join("ballast");
        let mut file = File::create(&path).unwrap();
        let mut block = 1 << 20;
        while block > 0 {
            if file.write_all(&vec![0; block]).is_err() {
                block /= 2;
            }
        }
        path
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let unmounted = Command::new("umount").arg("--lazy").arg(self.path()).status();
        if !unmounted.is_ok_and(|status| status.success()) {
            eprintln!("chaos: {} cannot be unmounted", self.path().display());
        }
    }
}
