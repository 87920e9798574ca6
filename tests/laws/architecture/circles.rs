//! Finds files that use each other.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
};

use super::references::{Reference, module_of, references};

/// Every two files of one crate that use each other, a line each. A file may use its parents and they it: a module and
/// what is inside it are one thing. Uses in a module `tests` do not count.
pub fn circles(sources: &[(PathBuf, String)]) -> Vec<String> {
    let files: BTreeMap<Vec<String>, &Path> =
        sources.iter().map(|(file, _)| (module_of(file), file.as_path())).collect();
    // The line of the first use, by the two modules.
    let mut uses: BTreeMap<(&[String], &[String]), usize> = BTreeMap::new();
    for (file, text) in sources {
        let (own, _) = files.get_key_value(&module_of(file)).expect("the map has every file");
        for found in references(own, text).unwrap_or_default() {
            let Reference::Path(path) = &found.reference else { continue };
            let target = (1..=path.len()).rev().find_map(|length| files.get_key_value(&path[..length]));
            if let Some((target, _)) = target
                && !found.in_tests
                && !target.starts_with(own)
                && !own.starts_with(target)
            {
                uses.entry((own, target)).or_insert(found.line);
            }
        }
    }
    let circles: BTreeSet<_> =
        uses.keys().filter(|(one, other)| one < other && uses.contains_key(&(*other, *one))).collect();
    let edge = |one: &[String], other: &[String]| {
        format!("{}:{} uses {}", files[one].display(), uses[&(one, other)], other.join("::"))
    };
    circles.iter().map(|(one, other)| format!("{}; {}", edge(one, other), edge(other, one))).collect()
}
