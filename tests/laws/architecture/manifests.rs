//! Holds the `Cargo.toml` of each crate against the crates that it may depend on.

use std::{fs, io, path::Path};

use super::rooms::{CRATES, CrateRoom};

/// What is wrong with the manifests under `crates/`, a line each.
pub fn violations(root: &Path) -> io::Result<Vec<String>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(root.join("crates"))? {
        let manifest = entry?.path().join("Cargo.toml");
        let text = fs::read_to_string(&manifest)?;
        found.extend(judge(&manifest.strip_prefix(root).map_err(io::Error::other)?.display().to_string(), &text));
    }
    found.sort();
    Ok(found)
}

/// What is wrong with a manifest, a line each. Dependencies of tests are not judged.
fn judge(file: &str, text: &str) -> Vec<String> {
    let manifest: toml::Table = text.parse().unwrap_or_else(|problem| panic!("{file}: {problem}"));
    let name = manifest["package"]["name"].as_str().unwrap_or_default();
    let Some(CrateRoom { below, never, .. }) = CRATES.iter().find(|room| room.name == name) else {
        return vec![format!("{file}: {name} is not in tests/laws/architecture/rooms.rs")];
    };
    let dependencies = manifest.get("dependencies").and_then(toml::Value::as_table);
    let forbidden = |dependency: &&String| {
        let is_ours = dependency.starts_with("lrs");
        let is_never = never.iter().copied().flatten().any(|never| never.replace('_', "-") == **dependency);
        is_never || (is_ours && !below.contains(&dependency.as_str()))
    };
    let named = dependencies.into_iter().flat_map(toml::Table::keys).filter(forbidden);
    named.map(|dependency| format!("{file}: {name} must not depend on {dependency}")).collect()
}

#[test]
fn a_forbidden_dependency_is_found_in_a_manifest() {
    let manifest = |name: &str, dependency: &str| {
        format!("[package]\nname = \"{name}\"\n[dependencies]\nserde.workspace = true\n{dependency}.workspace = true\n")
    };
    for (name, dependency) in
        [("lrs-store", "lrs-engine"), ("lrs-model", "tokio"), ("lrs-schedule", "tokio-util"), ("lrs-engine", "tonic")]
    {
        let found = judge("crates/x/Cargo.toml", &manifest(name, dependency));
        assert_eq!(found, [format!("crates/x/Cargo.toml: {name} must not depend on {dependency}")]);
    }
    assert_eq!(judge("crates/x/Cargo.toml", &manifest("lrs-attic", "libm")).len(), 1);
    assert_eq!(judge("crates/x/Cargo.toml", &manifest("lrs-engine", "lrs-store")), Vec::<String>::new());
}
