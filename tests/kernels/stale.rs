//! The PTX that is shipped is made of the sources as they are.

use std::{fs, path::Path};

use sha2::{Digest as _, Sha256};

/// As in scripts/kernels.py.
const OPTIONS: &str = "--gpu-architecture=compute_70 --fmad=false --std=c++14";

#[test]
fn the_ptx_is_of_these_sources() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("crates/stats/src/kernels");
    let mut names: Vec<String> = fs::read_dir(&folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .filter(|name| [".cu", ".h"].iter().any(|end| name.ends_with(end)))
        .collect();
    names.sort_unstable();
    let mut hash = Sha256::new();
    for name in names {
        hash.update(format!("{name}\n"));
        hash.update(fs::read(folder.join(&name)).unwrap());
    }
    hash.update(OPTIONS);
    let wanted: String = format!("{:x}", hash.finalize());
    let ptx = fs::read_to_string(folder.join("statistics.ptx")).unwrap();
    let head = ptx.lines().next().unwrap_or_default();
    assert!(head.ends_with(&wanted), "the kernels have changed: run `make kernels` and commit statistics.ptx ({head})");
}
