//! Holds a source file against the rules of its room.

use std::path::Path;

use super::{
    references::{Found, Reference, module_of, references},
    rooms::{ROOMS, Room, Uses},
};

/// Functions of `f64` whose bits differ between platforms; `libm` has them all.
const PLATFORM_FUNCTIONS: &[&str] = &[
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "exp", "exp2", "exp_m1",
    "hypot", "ln", "ln_1p", "log", "log10", "log2", "powf", "powi", "sin", "sin_cos", "sinh", "tan", "tanh",
];

/// What is wrong with a file, named from the repository's root: one line each, with the file, the line and the edge.
pub fn violations(file: &Path, source: &str) -> Vec<String> {
    let module = module_of(file);
    let here = file.display();
    let references = match references(&module, source) {
        Ok(references) => references,
        Err(error) => return vec![format!("{here}: cannot be read: {error}")],
    };
    let rooms: Vec<&Room> = ROOMS.iter().filter(|room| leads_to(&module, room.module)).collect();
    if let [root, own, ..] = module.as_slice()
        && root == "lrs"
        && rooms.is_empty()
    {
        return vec![format!("{here}: the room {own} is not in tests/laws/architecture/rooms.rs")];
    }
    let mut found = Vec::new();
    for reference in references {
        for room in &rooms {
            if let Some(target) = forbidden(room, &reference) {
                found.push(format!("{here}:{}: {} must not use {target}", reference.line, room.module));
            }
        }
    }
    found
}

/// The target of the reference, if the room must not use it. A module `tests` may use all of ours, to compare with.
fn forbidden(room: &Room, found: &Found) -> Option<String> {
    let differs = |name: &String| {
        let differs = room.has_exact_numbers && PLATFORM_FUNCTIONS.contains(&name.as_str());
        differs.then(|| format!("the platform's {name}: libm has it"))
    };
    let path = match &found.reference {
        Reference::Method(name) => return differs(name),
        Reference::Path(path) => path,
    };
    if let Some(never) =
        room.never.iter().copied().flatten().find(|never| leads_to(path, never) || is_glob_of(path, never))
    {
        return Some((*never).to_owned());
    }
    match path.as_slice() {
        [float, name, ..] if float == "f64" || float == "f32" => differs(name),
        [ours, ..] if !found.in_tests && (ours == "lrs" || ours.starts_with("lrs_")) => match room.uses {
            Uses::Only(rooms) => {
                let is_own = leads_to(path, room.module) || is_parent_of(path, room.module);
                let is_allowed = is_own || rooms.iter().any(|allowed| leads_to(path, allowed));
                (!is_allowed).then(|| path.iter().take(own_length(ours)).cloned().collect::<Vec<_>>().join("::"))
            }
            Uses::All => None,
        },
        _ => None,
    }
}

/// The segments that name a room of ours: its crate, or its module in a crate that has several.
fn own_length(ours: &str) -> usize {
    if ours == "lrs" || ours == "lrs_engine" { 2 } else { 1 }
}

/// Whether a path is the place or inside it.
fn leads_to(path: &[String], place: &str) -> bool {
    let mut path = path.iter();
    place.split("::").all(|wanted| path.next().is_some_and(|segment| segment == wanted))
}

/// Whether a path is a glob that brings the place.
fn is_glob_of(path: &[String], place: &str) -> bool {
    path.split_last().is_some_and(|(last, parents)| last == "*" && is_parent_of(parents, place))
}

/// Whether the place is inside a path.
fn is_parent_of(path: &[String], place: &str) -> bool {
    let mut place = place.split("::");
    path.iter().all(|segment| place.next() == Some(segment.as_str())) && place.next().is_some()
}
