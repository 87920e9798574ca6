//! A spec with some of its fields replaced, as an experiment's arms and `lrs replay --with` do.

use serde_json::{Map, Value};

use super::{failure::Failure, jobfile};
use lrs_model::typed::snake_case;
use lrs_proto::{JobSpec, json::Canonical, lengths::Scale};

/// `base` with the fields of `over`, each replaced as a whole; a field that is null in `over` is removed. Names may be
/// in snake or camel case.
///
/// # Errors
/// If one of them is not an object.
pub fn overlay(base: &Value, over: &Value) -> Result<Value, Failure> {
    let mut fields = object(base)?;
    for (name, value) in object(over)? {
        if value.is_null() {
            fields.remove(&name);
        } else {
            fields.insert(name, value);
        }
    }
    // Two spellings of one field: without this, both would be in the result.
    for (short, long) in [("controller", "controllers"), ("controllers", "controller")] {
        if over.get(short).is_some_and(|value| !value.is_null()) && over.get(long).is_none() {
            fields.remove(long);
        }
    }
    Ok(fields.into())
}

/// A spec as the object that [`overlay`] takes.
///
/// # Errors
/// If it has a value that JSON cannot express.
pub fn object_of(spec: &JobSpec) -> Result<Value, Failure> {
    serde_json::to_value(Canonical(spec))
        .map_err(|error| Failure::invalid(format!("the spec cannot be changed: {error}")))
}

/// The spec in an object.
///
/// # Errors
/// If the object is not a spec.
pub fn spec_of(object: &Value) -> Result<JobSpec, Failure> {
    jobfile::typed(object, Scale::default()).map_err(Failure::invalid)
}

fn object(value: &Value) -> Result<Map<String, Value>, Failure> {
    match value {
        Value::Null => Ok(Map::new()),
        Value::Object(fields) => Ok(fields.iter().map(|(name, value)| (snake_case(name), value.clone())).collect()),
        _ => Err(Failure::invalid("a spec has fields, such as `schedule: {cosine: {}}`")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_field_is_replaced_as_a_whole_and_null_takes_it_away() {
        let base = json!({"total_steps": 10, "schedule": {"cosine": {}}, "labels": {"a": "b"}, "controllers": []});
        let over = json!({"totalSteps": 20, "schedule": {"constant": {}}, "labels": null});
        let expected = json!({"total_steps": 20, "schedule": {"constant": {}}, "controllers": []});
        assert_eq!(overlay(&base, &over).unwrap(), expected);
        assert_eq!(overlay(&base, &Value::Null).unwrap(), base);
        assert!(overlay(&base, &json!([1])).is_err());
    }

    #[test]
    fn controllers_in_one_word_take_the_place_of_those_in_many() {
        let many = json!({"controllers": [{"auto": {}}]});
        assert_eq!(overlay(&many, &json!({"controller": "auto"})).unwrap(), json!({"controller": "auto"}));
        assert_eq!(overlay(&json!({"controller": "auto"}), &many).unwrap(), many);
    }
}
