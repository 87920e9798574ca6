//! What the demo's processes wrote, for when one of them fails.

use std::{
    fs::File,
    io::{Read as _, Seek as _, SeekFrom},
    path::Path,
    process::Stdio,
};

use super::error::Error;

const TAIL_BYTES: u64 = 8 * 1024;
const TAIL_LINES: usize = 20;

/// Both outputs of a process, into one new file.
pub fn outputs_to(path: &Path) -> Result<(Stdio, Stdio), Error> {
    let failed = |source| Error::File { path: path.to_owned(), source };
    let file = File::create(path).map_err(failed)?;
    let copy = file.try_clone().map_err(failed)?;
    Ok((file.into(), copy.into()))
}

/// The last lines of a log, or why they cannot be read.
pub fn tail(path: &Path) -> String {
    read_end(path).unwrap_or_else(|error| format!("(cannot read {}: {error})", path.display()))
}

fn read_end(path: &Path) -> std::io::Result<String> {
    let mut file = File::open(path)?;
    let start = file.metadata()?.len().saturating_sub(TAIL_BYTES);
    file.seek(SeekFrom::Start(start))?;
    let mut bytes = Vec::new();
    file.take(TAIL_BYTES).read_to_end(&mut bytes)?;
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    Ok(lines[first..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_tail_is_the_last_lines() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("x.log");
        let lines: Vec<String> = (0..5000).map(|line| format!("line {line}")).collect();
        std::fs::write(&path, lines.join("\n")).unwrap();
        assert_eq!(tail(&path), lines[lines.len() - TAIL_LINES..].join("\n"));
    }

    #[test]
    fn a_log_that_is_not_there_is_said_to_be_so() {
        assert!(tail(Path::new("no/such.log")).starts_with("(cannot read no/such.log"));
    }
}
