//! Lengths in words that name their unit, such as `90ep`, in the JSON of a message: read as steps.
//!
//! The option `length` marks the fields. What a word needs stands in the same spec: `steps_per_epoch` for epochs,
//! `total_steps` for shares of the training, `tokens_per_step` for tokens. Where a schedule's time is not in steps,
//! within `pace` and within the body of a `repeat`, a word is refused.

mod word;

use prost_reflect::{FieldDescriptor, Kind, MessageDescriptor};
use serde_json::{Map, Value};

use crate::{reflect, written::Problem};
pub use word::Scale;
use word::steps;

const SPEC: &str = "lrs.v1.JobSpec";
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

struct Reader {
    scale: Scale,
    /// Whether time is counted in steps here.
    is_in_steps: bool,
    found: bool,
}

impl Reader {
    fn message(&mut self, message: &MessageDescriptor, path: &str, json: &mut Value) -> Result<(), Problem> {
        let Value::Object(fields) = json else { return Ok(()) };
        if message.full_name() == SPEC {
            self.spec(message, path, fields)?;
        }
        for (name, value) in fields {
            let Some(field) = reflect::field(message, name) else { continue };
            let path = if path.is_empty() { name.clone() } else { format!("{path}.{name}") };
            self.field(&field, &path, value)?;
        }
        Ok(())
    }

    /// Reads what the other lengths of a spec are measured by.
    fn spec(&mut self, spec: &MessageDescriptor, path: &str, fields: &mut Map<String, Value>) -> Result<(), Problem> {
        let known = |fields: &Map<String, Value>, name: &str| {
            let value = fields.iter().find(|(key, _)| reflect::field(spec, key).is_some_and(|f| f.name() == name));
            value.and_then(|(_, value)| plain(value)).filter(|number| *number > 0.0)
        };
        let outer = self.scale;
        self.scale = Scale {
            steps_per_epoch: known(fields, "steps_per_epoch").or(outer.steps_per_epoch),
            tokens_per_step: known(fields, "tokens_per_step").or(outer.tokens_per_step),
            total_steps: None,
        };
        for (name, value) in &mut *fields {
            if let Some(field) = reflect::field(spec, name).filter(|field| field.name() == "total_steps") {
                self.field(&field, &format!("{path}{}{name}", if path.is_empty() { "" } else { "." }), value)?;
            }
        }
        let of_epochs = known(fields, "target_epochs").zip(self.scale.steps_per_epoch);
        let of_epochs = of_epochs.map(|(epochs, each)| (epochs * each).round());
        self.scale.total_steps = of_epochs.or_else(|| known(fields, "total_steps")).or(outer.total_steps);
        Ok(())
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

/// The number that a JSON value is, or says as text.
fn plain(value: &Value) -> Option<f64> {
    value.as_f64().or_else(|| value.as_str().and_then(number))
}

fn number(text: &str) -> Option<f64> {
    text.parse().ok()
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
    fn numbers_stay_as_they_are() {
        let mut job = json!({"spec": {"total_steps": "1000", "schedule": {"ease": {"over": "1e2"}}, "seed": "x"}});
        let before = job.clone();
        assert_eq!(resolve(&descriptor::<Job>(), &mut job, Scale::default()), Ok(false));
        assert_eq!(job, before);
    }
}
