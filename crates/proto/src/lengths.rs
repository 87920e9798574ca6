//! Lengths in words that name their unit, such as `90ep`, in the JSON of a message: read as steps.
//!
//! The option `length` marks the fields. What a word needs stands in the same spec, or in the spec beside it:
//! `steps_per_epoch` for epochs, `total_steps` for shares of the training, `tokens_per_step` for tokens. Where a
//! schedule's time is not in steps, within `pace` and within the body of a `repeat`, a word is refused.

mod word;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::{reflect, written::Problem};
pub use word::{Scale, steps};

const SPEC: &str = "lrs.v1.JobSpec";
const TOTAL_STEPS: &str = "total_steps";
/// Schedules in these fields have a time of their own.
const OWN_TIME: [&str; 2] = ["lrs.v1.Pace.schedule", "lrs.v1.Repeat.body"];

/// Replaces every length in words in `json`, the JSON of a `message`, by steps. What a spec in it does not say is as in
/// `scale`. Returns whether there were any.
///
/// # Errors
/// What is wrong with a word, and where.
pub fn resolve(message: &MessageDescriptor, json: &mut Value, scale: Scale) -> Result<bool, Problem> {
    let mut reader = Reader { scale, is_in_steps: true, found: false };
    reader.message(message, "", json)?;
    Ok(reader.found)
}

/// Whether there are lengths in words in `json`, the JSON of a `message`.
#[must_use]
pub fn in_words(message: &MessageDescriptor, json: &Value) -> bool {
    let Value::Object(fields) = json else { return false };
    fields.iter().any(|(name, value)| {
        let Some(field) = reflect::field(message, name).filter(|field| !field.is_map()) else { return false };
        let values = if let Value::Array(list) = value { list.as_slice() } else { std::slice::from_ref(value) };
        values.iter().any(|value| match field.kind() {
            Kind::Message(below) => in_words(&below, value),
            _ => reflect::is_length(&field) && value.as_str().is_some_and(|text| number(text).is_none()),
        })
    })
}

struct Reader {
    scale: Scale,
    /// Whether time is counted in steps here.
    is_in_steps: bool,
    found: bool,
}

impl Reader {
    fn message(&mut self, message: &MessageDescriptor, path: &str, json: &mut Value) -> Result<(), Problem> {
        let Value::Object(fields) = json else { return Ok(()) };
        let outer = self.scale;
        let is_spec = message.full_name() == SPEC;
        if is_spec {
            self.spec(message, path, fields)?;
        }
        // A spec says what the lengths beside it are measured by.
        let spec_of_it = message.get_field_by_name("spec").filter(|field| is_of(field, SPEC));
        for (name, value) in &mut *fields {
            let Some(field) = reflect::field(message, name).filter(|field| Some(field) == spec_of_it.as_ref()) else {
                continue;
            };
            self.field(&field, &below(path, name), value)?;
            if let Value::Object(spec) = value {
                self.scale = self.scale_of(spec);
            }
        }
        for (name, value) in fields {
            let Some(field) = reflect::field(message, name).filter(|field| Some(field) != spec_of_it.as_ref()) else {
                continue;
            };
            // Another spec, such as that of the job's beginning, says itself how long things are.
            let beside = if is_of(&field, SPEC) { std::mem::replace(&mut self.scale, outer) } else { self.scale };
            self.field(&field, &below(path, name), value)?;
            self.scale = beside;
        }
        self.scale = outer;
        Ok(())
    }

    /// Reads what the other lengths of a spec are measured by.
    fn spec(&mut self, spec: &MessageDescriptor, path: &str, fields: &mut Map<String, Value>) -> Result<(), Problem> {
        // The share of a training is not known before its length is.
        let measured = Scale { total_steps: None, ..self.scale_of(fields) };
        let outer = std::mem::replace(&mut self.scale, measured);
        for (name, value) in &mut *fields {
            if let Some(field) = reflect::field(spec, name).filter(|field| field.name() == TOTAL_STEPS) {
                let written = value.as_str().map(str::to_owned);
                self.field(&field, &below(path, name), value)?;
                if let Some(text) = written.filter(|_| value.as_u64() == Some(0)) {
                    let problem = format!("{text:?} is not allowed: it is less than one step");
                    return Err(Problem::at(&below(path, name), problem));
                }
            }
        }
        self.scale = outer;
        self.scale = self.scale_of(fields);
        Ok(())
    }

    /// What a spec says about its units; what is not in it is as outside of it, and what is null is not known.
    fn scale_of(&self, spec: &Map<String, Value>) -> Scale {
        let message = reflect::pool().get_message_by_name(SPEC);
        let written = |name: &str| {
            let is_it = |key: &str| message.as_ref().and_then(|spec| reflect::field(spec, key));
            spec.iter().find(|(key, _)| is_it(key).is_some_and(|field| field.name() == name)).map(|(_, value)| value)
        };
        let known = |name: &str, outer: Option<f64>| match written(name) {
            Some(value) => plain(value).filter(|number| *number > 0.0),
            None => outer,
        };
        let steps_per_epoch = known("steps_per_epoch", self.scale.steps_per_epoch);
        let total_steps = match known("target_epochs", None) {
            Some(epochs) => steps_per_epoch.map(|each| (epochs * each).round()),
            None => known(TOTAL_STEPS, self.scale.total_steps),
        };
        Scale { steps_per_epoch, total_steps, tokens_per_step: known("tokens_per_step", self.scale.tokens_per_step) }
    }

    fn field(&mut self, field: &FieldDescriptor, path: &str, value: &mut Value) -> Result<(), Problem> {
        let is_list = field.is_list() && value.is_array();
        match (field.kind(), value) {
            (_, Value::Array(list)) if is_list => {
                for (i, element) in list.iter_mut().enumerate() {
                    self.value(field, &format!("{path}[{i}]"), element)?;
                }
                Ok(())
            }
            (_, value) => self.value(field, path, value),
        }
    }

    fn value(&mut self, field: &FieldDescriptor, path: &str, value: &mut Value) -> Result<(), Problem> {
        match (field.kind(), &mut *value) {
            (Kind::Message(message), value) if !field.is_map() => {
                let was_in_steps = self.is_in_steps;
                self.is_in_steps &= !OWN_TIME.contains(&field.full_name());
                let read = self.message(&message, path, value);
                self.is_in_steps = was_in_steps;
                read
            }
            (Kind::Int64 | Kind::Double, Value::String(text))
                if reflect::is_length(field) && number(text).is_none() =>
            {
                let wrong = |problem| Problem::at(path, problem);
                if !self.is_in_steps {
                    let problem = format!("{text:?} is not allowed: time is not counted in steps here, write a number");
                    return Err(wrong(problem));
                }
                *value = steps(text, self.scale).map_err(wrong)?.into();
                self.found = true;
                Ok(())
            }
            _ => Ok(()),
        }
    }
}

/// The path of a field of the message at `path`.
fn below(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// Whether a field is one message of this name.
fn is_of(field: &FieldDescriptor, message: &str) -> bool {
    !field.is_list() && matches!(field.kind(), Kind::Message(kind) if kind.full_name() == message)
}

/// The number that a JSON value is, or says as text.
fn plain(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(number))
}

fn number(text: &str) -> Option<f64> {
    text.trim().replace('_', "").parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{Job, JobSpec, reflect::descriptor};
    use serde_json::json;

    fn read(spec: Value) -> Result<Value, String> {
        let mut spec = spec;
        let read = resolve(&descriptor::<JobSpec>(), &mut spec, Scale::default());
        read.map(|_| spec).map_err(|problem| problem.to_string())
    }

    #[test]
    fn words_become_steps_wherever_a_length_stands() {
        let spec = json!({"total_steps": "90ep", "steps_per_epoch": "100", "tokens_per_step": 1000, "schedule": {"warmup":
            {"warmupSteps": "5%", "schedule": {"multi_step": {"milestones": ["30ep", 6000, "8e6tok", "0.95dur"]}}}},
            "controllers": [{"reduce_lr_on_plateau": {"start_step": "12 step"}}], "display_name": "90ep"});
        let expected = json!({"total_steps": 9000, "steps_per_epoch": "100", "tokens_per_step": 1000, "schedule": {"warmup":
            {"warmupSteps": 450, "schedule": {"multi_step": {"milestones": [3000, 6000, 8000, 8550]}}}},
            "controllers": [{"reduce_lr_on_plateau": {"start_step": 12}}], "display_name": "90ep"});
        assert_eq!(read(spec), Ok(expected));
    }

    #[test]
    fn target_epochs_are_the_training_that_a_share_is_of() {
        let spec = json!({"target_epochs": 2.5, "steps_per_epoch": 40, "schedule": {"cosine": {"decay_steps": "50%"}}});
        assert_eq!(read(spec).unwrap()["schedule"]["cosine"]["decay_steps"], 50);
    }

    #[test]
    fn a_word_that_cannot_be_read_is_named_with_its_place_and_what_it_needs() {
        for (spec, problem) in [
            (json!({"total_steps": "90ep"}), "total_steps: \"90ep\" needs the job's `steps_per_epoch`"),
            (json!({"total_steps": "5%"}), "total_steps: \"5%\" needs the job's `total_steps`"),
            (
                json!({"schedule": {"seq": {"parts": [{"base": 1}, {"warmup": {"warmup_steps": "1e9tok"}}]}}}),
                "schedule.seq.parts[1].warmup.warmup_steps: \"1e9tok\" needs the job's `tokens_per_step`",
            ),
        ] {
            let found = read(spec).unwrap_err();
            assert!(found.starts_with(problem), "{found}");
        }
        for word in ["ninety", "90 eons", "ep", "-3ep", "1e300ep", "NaNep", "infstep"] {
            let found = read(json!({"total_steps": word, "steps_per_epoch": 7})).unwrap_err();
            assert!(found.contains(&format!("{word:?}")), "{found}");
        }
        let paced = json!({"steps_per_epoch": 10, "schedule": {"pace": {"unit": "UNIT_EPOCH", "schedule":
            {"cosine": {"decay_steps": "90ep"}}}}});
        assert!(read(paced).unwrap_err().starts_with("schedule.pace.schedule.cosine.decay_steps: "));
    }

    #[test]
    fn a_part_of_a_spec_is_measured_by_the_whole() {
        let whole = JobSpec { total_steps: Some(1000), steps_per_epoch: Some(10), ..JobSpec::default() };
        let mut part = json!({"schedule": {"warmup": {"warmup_steps": "5%"}}});
        assert_eq!(resolve(&descriptor::<JobSpec>(), &mut part, Scale::of(&whole)), Ok(true));
        assert_eq!(part["schedule"]["warmup"]["warmup_steps"], 50);
        let mut longer = json!({"total_steps": "200ep", "schedule": {"warmup": {"warmup_steps": "5%"}}});
        resolve(&descriptor::<JobSpec>(), &mut longer, Scale::of(&whole)).unwrap();
        assert_eq!(longer["schedule"]["warmup"]["warmup_steps"], 100);
    }

    #[test]
    fn each_spec_of_a_message_is_measured_by_itself() {
        let with = |spec: Value| {
            let mut job = json!({"initial_spec": {"steps_per_epoch": 100, "total_steps": 1000}, "spec": spec});
            resolve(&descriptor::<Job>(), &mut job, Scale::default()).map(|_| job).map_err(|wrong| wrong.to_string())
        };
        for spec in [json!({"total_steps": "3ep"}), json!({"schedule": {"cosine": {"decay_steps": "10%"}}})] {
            let problem = with(spec).unwrap_err();
            assert!(problem.contains("needs the job's"), "{problem}");
        }
        let own = with(json!({"total_steps": "3ep", "steps_per_epoch": 7})).unwrap();
        assert_eq!((&own["spec"]["total_steps"], &own["initial_spec"]["total_steps"]), (&json!(21), &json!(1000)));
        let outer = Scale::of(&JobSpec { steps_per_epoch: Some(5), ..JobSpec::default() });
        for (spec, steps) in
            [(json!({"total_steps": "3ep"}), Some(15)), (json!({"total_steps": "3ep", "steps_per_epoch": null}), None)]
        {
            let mut job = json!({"spec": spec});
            let read = resolve(&descriptor::<Job>(), &mut job, outer);
            assert_eq!(read.ok().and_then(|_| job["spec"]["total_steps"].as_i64()), steps);
        }
    }

    #[test]
    fn lengths_beside_a_spec_are_measured_by_it() {
        let spec = json!({"steps_per_epoch": 10, "total_steps": "20ep"});
        for mut request in [
            json!({"every": "1ep", "spec": spec, "steps": ["5ep", 7], "end_step": "50%"}),
            json!({"spec": spec, "every": "1ep", "end_step": "50%", "steps": ["5ep", 7]}),
        ] {
            assert!(in_words(&descriptor::<crate::PreviewScheduleRequest>(), &request));
            resolve(&descriptor::<crate::PreviewScheduleRequest>(), &mut request, Scale::default()).unwrap();
            assert_eq!(
                (&request["every"], &request["end_step"], &request["steps"]),
                (&json!(10), &json!(100), &json!([50, 7]))
            );
            assert!(!in_words(&descriptor::<crate::PreviewScheduleRequest>(), &request));
        }
    }

    #[test]
    fn a_training_of_less_than_a_step_is_refused_in_the_words_that_were_written() {
        let problem = read(json!({"total_steps": "0.001ep", "steps_per_epoch": 100})).unwrap_err();
        assert_eq!(problem, "total_steps: \"0.001ep\" is not allowed: it is less than one step");
    }

    #[test]
    fn numbers_stay_as_they_are() {
        let mut job = json!({"spec": {"total_steps": "1000", "schedule": {"ease": {"over": "1e2"}}, "seed": "x"}});
        let before = job.clone();
        assert_eq!(resolve(&descriptor::<Job>(), &mut job, Scale::default()), Ok(false));
        assert_eq!(job, before);
    }
}
