//! The packages for PyPI say what `Cargo.toml` says: the version, the licence and the address of the repository.

use std::{fs, path::Path};

use toml::Table;

const CLIENT: &str = "clients/python";
const SERVER: &str = "packages/lrs-server";

fn text(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path))
        .unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn manifest(path: &str) -> Table {
    text(path).parse().unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The table `[project]` of a package.
fn project(package: &str) -> Table {
    manifest(&format!("{package}/pyproject.toml"))["project"].as_table().expect("a table").clone()
}

#[test]
fn both_packages_have_the_version_of_cargo() {
    let version = env!("CARGO_PKG_VERSION");
    let client = text(&format!("{CLIENT}/src/lrs/__init__.py"));
    let stated: Vec<_> = client.lines().filter(|line| line.starts_with("__version__ = ")).collect();
    assert_eq!(stated, [format!("__version__ = \"{version}\"")], "the client's __init__.py");
    let server = project(CLIENT)["optional-dependencies"]["server"].clone();
    assert_eq!(server.as_array().expect("a list"), &[format!("lrs-server=={version}").into()], "the extra `server`");
    for package in [CLIENT, SERVER] {
        let dynamic = project(package)["dynamic"].clone();
        assert_eq!(dynamic.as_array().expect("a list"), &["version".into()], "{package} has no version of its own");
    }
}

#[test]
fn both_packages_have_the_licence_and_the_addresses_of_cargo() {
    let workspace = manifest("Cargo.toml")["workspace"]["package"].clone();
    let repository = workspace["repository"].as_str().expect("a text");
    for package in [CLIENT, SERVER] {
        let project = project(package);
        assert_eq!(project["license"], workspace["license"], "{package}");
        assert_eq!(text(&format!("{package}/LICENSE")), text("LICENSE"), "{package}");
        for (name, address) in project["urls"].as_table().expect("a table") {
            let address = address.as_str().expect("a text");
            let within = address.strip_prefix(repository).unwrap_or_else(|| panic!("{package}: {name} is {address}"));
            if let Some(file) = within.strip_prefix("/blob/main/") {
                text(file);
            }
        }
    }
}
