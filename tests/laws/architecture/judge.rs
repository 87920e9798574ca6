//! Holds a source file against the rules of its room.

use std::path::Path;

use super::{
    references::{Reference, module_of, references},
    rooms::{ROOMS, Room, Uses},
};

/// Functions of `f64` whose bits differ between platforms; `libm` has them all.
const PLATFORM_FUNCTIONS: &[&str] = &[
    "acos", "acosh", "asin", "asinh", "atan", "atan2", "atanh", "cbrt", "cos", "cosh", "exp", "exp2", "exp_m1",
    "hypot", "ln", "ln_1p", "log", "log10", "log2", "powf", "powi", "sin", "sin_cos", "sinh", "tan", "tanh",
];

/// What is wrong with a file, `src/…` from the repository's root: one line each, with the file, the line and the edge.
pub fn violations(file: &Path, source: &str) -> Vec<String> {
    let module = module_of(file);
    let here = file.display();
    let references = match references(&module, source) {
        Ok(references) => references,
        Err(error) => return vec![format!("{here}: can not be read: {error}")],
    };
    let Some(own) = module.first() else { return Vec::new() };
    let rooms: Vec<&Room> = ROOMS.iter().filter(|room| contains(room, &module)).collect();
    if rooms.is_empty() {
        return vec![format!("{here}: the room {own} is not in tests/architecture/rooms.rs")];
    }
    let mut found = Vec::new();
    for (line, reference) in references {
        for room in &rooms {
            if let Some(target) = forbidden(room, own, &reference) {
                found.push(format!("{here}:{line}: {} must not use {target}", room.module));
            }
        }
    }
    found
}

fn contains(room: &Room, module: &[String]) -> bool {
    let mut wanted = room.module.split("::");
    module.iter().zip(wanted.by_ref()).all(|(have, want)| have == want) && wanted.next().is_none()
}

/// What the reference leads to, if the room must not go there.
fn forbidden(room: &Room, own: &str, reference: &Reference) -> Option<String> {
    let path = match reference {
        Reference::Method(name) => {
            let differs = room.exact_numbers && PLATFORM_FUNCTIONS.contains(&name.as_str());
            return differs.then(|| format!("the platform's {name}: libm has it"));
        }
        Reference::Path(path) => path,
    };
    if let Some(never) = room.never.iter().copied().flatten().find(|never| leads_to(path, never)) {
        return Some((*never).to_owned());
    }
    match path.as_slice() {
        [float, name, ..] if float == "f64" || float == "f32" => {
            let differs = room.exact_numbers && PLATFORM_FUNCTIONS.contains(&name.as_str());
            differs.then(|| format!("the platform's {name}: libm has it"))
        }
        [first, target, ..] if first == "crate" && target != own => match room.uses {
            Uses::Only(rooms) if !rooms.contains(&target.as_str()) => Some(format!("crate::{target}")),
            _ => None,
        },
        _ => None,
    }
}

/// Whether a path is the place, is inside it, or is a glob that brings it.
fn leads_to(path: &[String], place: &str) -> bool {
    let mut place = place.split("::");
    for segment in path {
        match place.next() {
            None => return true,
            Some(_) if segment == "*" => return true,
            Some(wanted) if segment != wanted => return false,
            Some(_) => {}
        }
    }
    place.next().is_none()
}
