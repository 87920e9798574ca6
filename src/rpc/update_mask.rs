//! `UpdateJobRequest.update_mask`: the fields of a spec that a change touches. The possible paths come from the
//! descriptor of [`JobSpec`].

use lrs_model::{typed, violation::Violations};
use lrs_proto::{
    JobSpec,
    reflect::{
        self, DynamicMessage, FieldDescriptor, Kind, MapKey, MessageDescriptor, ReflectMessage as _, descriptor,
        from_dynamic, to_dynamic,
    },
};

const SPEC: &str = "spec";
/// The path that names all fields of the spec.
pub const WHOLE: &str = "*";
const MAX_PATHS: usize = 100;

/// `current`, with the fields in `paths` taken from `new`. Without paths, takes the populated fields of `new`.
///
/// A named field that `new` does not have goes back to its default. A short form and its long form are replaced
/// together, whichever of them is named.
pub fn apply(violations: &mut Violations, current: &JobSpec, new: &JobSpec, paths: &[String]) -> JobSpec {
    if paths.len() > MAX_PATHS {
        violations.refuse("update_mask", format_args!("{} paths", paths.len()), format_args!("at most {MAX_PATHS}"));
        return current.clone();
    }
    let (Ok(mut spec), Ok(new)) = (to_dynamic(current), to_dynamic(new)) else {
        violations.add("job.spec", "is nested too deeply");
        return current.clone();
    };
    let populated = || new.fields().map(|(field, _)| field.name().to_owned()).collect();
    let touched: Vec<String> = if paths.is_empty() { populated() } else { below_spec(violations, paths) };
    for path in &touched {
        if path == WHOLE {
            spec = new.clone();
        } else if let Err(unknown) = copy(path, &new, &mut spec) {
            violations.add("update_mask", format_args!("\"{SPEC}.{path}\" is not allowed: {}", unknown.instead(path)));
        }
    }
    from_dynamic(&spec).unwrap_or_else(|_| current.clone())
}

/// The paths without `spec.`, which may be left out: no field of a job is named as one of its spec.
fn below_spec(violations: &mut Violations, paths: &[String]) -> Vec<String> {
    let mut below = Vec::new();
    for path in paths {
        match path.strip_prefix("spec.") {
            Some(path) => below.push(path.to_owned()),
            None if path == SPEC || path == WHOLE => below.push(WHOLE.to_owned()),
            None => {
                let spec = descriptor::<JobSpec>();
                let first = path.split('.').next().unwrap_or(path);
                if spec.get_field_by_name(first).is_some() {
                    below.push(path.clone());
                } else {
                    let all = Unknown { message: spec, matched: 0 };
                    violations.add("update_mask", format_args!("{path:?} is not allowed: {}", all.instead(path)));
                }
            }
        }
    }
    below
}

/// A path that leads to no field.
#[derive(Debug)]
struct Unknown {
    /// The message that does not have the field.
    message: MessageDescriptor,
    /// How many bytes of the path lead to that message.
    matched: usize,
}

impl Unknown {
    /// What to write in place of `path`: the field that was probably meant, and all that there are where it goes wrong.
    fn instead(&self, path: &str) -> String {
        let (matched, rest) = path.split_at(self.matched);
        let written = rest.split(['.', '[']).next().unwrap_or(rest);
        let name = |field: FieldDescriptor| {
            let name = format!("{SPEC}.{matched}{}", field.name());
            if field.is_map() { format!("{name}, {name}.KEY") } else { name }
        };
        let known: Vec<String> = self.message.fields().map(|field| field.name().to_owned()).collect();
        let meant = typed::nearest(written, &known.iter().map(String::as_str).collect::<Vec<_>>());
        let meant = meant.map(|meant| format!("did you mean {SPEC}.{matched}{meant}? It "));
        let names: Vec<String> = self.message.fields().map(name).collect();
        let whole = if matched.is_empty() { "`spec` or " } else { "" };
        format!("{}must be {whole}one of {}", meant.unwrap_or_default(), names.join(", "))
    }
}

/// Copies the field at `path`. For a field of the spec, also copies the other forms of the field.
fn copy(path: &str, from: &DynamicMessage, to: &mut DynamicMessage) -> Result<(), Unknown> {
    let message = to.descriptor();
    let (name, below) = path.split_once('.').map_or((path, None), |(name, below)| (name, Some(below)));
    let unknown = |matched| Unknown { message: message.clone(), matched };
    let field = message.get_field_by_name(name).ok_or_else(|| unknown(0))?;
    let Some(below) = below else {
        for form in forms(&field) {
            copy_field(&form, from, to);
        }
        return Ok(());
    };
    match field.kind() {
        _ if field.is_map() && !below.is_empty() => {
            copy_entry(&field, below, from, to);
            Ok(())
        }
        Kind::Message(_) if !field.is_map() && !field.is_list() => copy_below(&field, below, from, to)
            .map_err(|unknown| Unknown { matched: unknown.matched + name.len() + 1, ..unknown }),
        _ => Err(unknown(0)),
    }
}

/// The field itself, its long form, and all short forms of that.
fn forms(field: &FieldDescriptor) -> Vec<FieldDescriptor> {
    let long = reflect::long_form(field).unwrap_or_else(|| field.clone());
    let is_short_for_it = |field: &FieldDescriptor| reflect::long_form(field).as_ref() == Some(&long);
    let short = field.parent_message().fields().filter(is_short_for_it).collect::<Vec<_>>();
    [long].into_iter().chain(short).collect()
}

fn copy_field(field: &FieldDescriptor, from: &DynamicMessage, to: &mut DynamicMessage) {
    if from.has_field(field) {
        to.set_field(field, from.get_field(field).into_owned());
    } else {
        to.clear_field(field);
    }
}

/// Copies the entry under one key of a map with text keys.
fn copy_entry(field: &FieldDescriptor, key: &str, from: &DynamicMessage, to: &mut DynamicMessage) {
    let key = MapKey::String(key.to_owned());
    let value = from.get_field(field).as_map().and_then(|map| map.get(&key).cloned());
    let Some(map) = to.get_field_mut(field).as_map_mut() else { return };
    match value {
        Some(value) => map.insert(key, value),
        None => map.remove(&key),
    };
}

/// Copies a part of a message that may be unset on either side. The message stays unset where the part makes no
/// difference.
fn copy_below(
    field: &FieldDescriptor,
    path: &str,
    from: &DynamicMessage,
    to: &mut DynamicMessage,
) -> Result<(), Unknown> {
    let (from, mut part) = (from.get_field(field), to.get_field(field).into_owned());
    let (Some(from), Some(message)) = (from.as_message(), part.as_message_mut()) else { return Ok(()) };
    copy(path, from, message)?;
    if to.has_field(field) || message.fields().next().is_some() {
        to.set_field(field, part);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn spec(json: &str) -> JobSpec {
        serde_json::from_str(json).unwrap()
    }

    fn current() -> JobSpec {
        spec(
            r#"{"display_name": "before", "groups": [{"name": "a", "base_lr": 0.1}], "total_steps": 10,
                "controllers": [{"greedy": {}}], "labels": {"team": "vision", "tier": "gold"},
                "objective": {"metric": "loss", "target": 0.5}}"#,
        )
    }

    fn applied(new: &str, paths: &[&str]) -> (JobSpec, Violations) {
        let mut violations = Violations::new();
        let paths: Vec<String> = paths.iter().map(|&path| path.to_owned()).collect();
        (apply(&mut violations, &current(), &spec(new), &paths), violations)
    }

    #[test]
    fn without_a_mask_the_populated_fields_change() {
        let (after, violations) = applied(r#"{"total_steps": 20, "rate_limits": {"max_lr": 1}}"#, &[]);
        assert!(violations.is_empty());
        assert_eq!((after.total_steps, after.display_name.as_str()), (Some(20), "before"));
        assert_eq!(after.rate_limits.unwrap().max_lr, Some(1.0));
        assert_eq!(after.groups, current().groups);
    }

    #[test]
    fn a_named_field_that_is_not_given_goes_back_to_its_default() {
        let (after, _) = applied("{}", &["spec.total_steps", "spec.labels.tier", "spec.objective.target"]);
        assert_eq!(after.total_steps, None);
        assert_eq!(after.labels.into_iter().collect::<Vec<_>>(), [("team".to_owned(), "vision".to_owned())]);
        let objective = after.objective.unwrap();
        assert_eq!((objective.metric.as_str(), objective.target), ("loss", None));
    }

    #[test]
    fn a_part_of_a_message_that_nobody_has_leaves_it_unset() {
        assert_eq!(applied("{}", &["spec.rate_limits.max_lr"]).0, current());
        let (after, _) = applied(r#"{"rate_limits": {"min_lr": 1, "max_lr": 2}}"#, &["spec.rate_limits.max_lr"]);
        assert_eq!(after.rate_limits.unwrap(), lrs_proto::RateLimits { min_lr: None, max_lr: Some(2.0) });
    }

    #[test]
    fn the_whole_spec_can_be_replaced() {
        let new = r#"{"groups": [{"base_lr": 1}]}"#;
        assert_eq!(applied(new, &["spec"]).0, spec(new));
        assert_eq!(applied(new, &["*"]).0, spec(new));
    }

    #[test]
    fn a_short_form_replaces_the_field_that_it_is_short_for() {
        for paths in [&[][..], &["spec.controller"], &["spec.controllers"]] {
            let (after, violations) = applied(r#"{"controller": "auto"}"#, paths);
            assert!(violations.is_empty());
            assert_eq!((after.controller.as_str(), after.controllers.len()), ("auto", 0), "{paths:?}");
            let (after, _) = applied(r#"{"controllers": [{"auto": {}}]}"#, paths);
            assert_eq!(
                (after.controller.as_str(), &after.controllers[..]),
                ("", &spec(r#"{"controllers": [{"auto": {}}]}"#).controllers[..])
            );
        }
        // The check of the spec refuses a request with both forms.
        let (after, _) = applied(r#"{"controller": "auto", "controllers": [{"auto": {}}]}"#, &[]);
        assert_eq!((after.controller.as_str(), after.controllers.len()), ("auto", 1));
    }

    #[test]
    fn an_unknown_path_is_refused_with_the_paths_that_exist_there() {
        for path in ["spec.colour", "state", "spec.labels.", "spec.groups.name", "spec.", ""] {
            let (_, violations) = applied("{}", &[path]);
            let text = violations.to_string();
            assert!(text.starts_with(&format!("update_mask: {path:?} is not allowed: ")), "{text}");
            assert!(text.contains("`spec` or one of spec.display_name") && text.contains("spec.labels.KEY"), "{text}");
        }
        let (_, violations) = applied("{}", &["spec.objective.colour"]);
        let expected = "must be one of spec.objective.metric, spec.objective.mode, spec.objective.target";
        assert!(violations.to_string().contains(expected), "{violations}");
        for (path, meant) in [
            ("spec.total_step", "did you mean spec.total_steps?"),
            ("total_step", "did you mean spec.total_steps?"),
            ("spec.totalSteps", "did you mean spec.total_steps?"),
            ("spec.groups[0].base_lr", "did you mean spec.groups?"),
            ("spec.objective.targets", "did you mean spec.objective.target?"),
        ] {
            let (_, violations) = applied("{}", &[path]);
            assert!(violations.to_string().contains(meant), "{path}: {violations}");
        }
    }

    #[test]
    fn a_path_may_leave_out_the_spec() {
        assert_eq!(
            applied("{}", &["total_steps", "labels.tier"]).0,
            applied("{}", &["spec.total_steps", "spec.labels.tier"]).0
        );
        assert_ne!(applied("{}", &["total_steps"]).0, current());
    }

    #[test]
    fn every_field_of_a_spec_can_be_named_and_is_copied() {
        let full = crate::rpc::every::full(&descriptor::<JobSpec>());
        for field in descriptor::<JobSpec>().fields() {
            let mut copied = DynamicMessage::new(descriptor::<JobSpec>());
            copy(field.name(), &full, &mut copied).unwrap();
            assert_eq!(copied.get_field(&field), full.get_field(&field), "{}", field.name());
            let names: BTreeSet<String> = copied.fields().map(|(field, _)| field.name().to_owned()).collect();
            let forms: BTreeSet<String> = forms(&field).iter().map(|field| field.name().to_owned()).collect();
            assert!(names.is_subset(&forms), "{names:?} with {}", field.name());
        }
    }
}
