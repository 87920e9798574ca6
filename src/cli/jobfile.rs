//! Job files: the message `lrs.v1.Job`, or a bare `lrs.v1.JobSpec`, in canonical JSON or YAML; several documents are
//! several jobs.

use std::{fs, io::Read as _, path::Path};

use prost::Name;
use serde::{Serialize, de::DeserializeOwned};
use serde_json::Value;
use serde_saphyr::Error;

use super::{assignment::Assignment, failure::Failure, yaml};
use lrs_proto::{
    Job,
    json::Canonical,
    lengths::{self, Scale},
    reflect,
    written::{self, Problem},
};

mod place;

/// How many of a file's wrong jobs are told beside the first.
const MAX_FAILURES: usize = 9;
/// The largest job file.
pub const MAX_FILE_BYTES: u64 = 16 << 20;

/// The jobs of the file at `path` (`-` is standard input) with `changes` made to each.
///
/// # Errors
/// If it cannot be read or does not describe jobs. The failure names the line, the field, and the nearest existing
/// field.
pub fn read(path: &Path, changes: &[Assignment]) -> Result<Vec<Job>, Failure> {
    parse(&display(path), &read_text(path)?, changes)
}

/// As [`read`], for a change of `job`: lengths in words are measured by what the job says, where the file does not say
/// it.
///
/// # Errors
/// As [`read`].
pub fn read_change(path: &Path, changes: &[Assignment], job: &Job) -> Result<Vec<Job>, Failure> {
    let scale = job.spec.as_ref().map(Scale::of).unwrap_or_default();
    parse_in(&display(path), &read_text(path)?, changes, scale)
}

/// All of the file at `path`; `-` is standard input.
///
/// # Errors
/// If it cannot be read, or is too large.
pub fn read_text(path: &Path) -> Result<String, Failure> {
    let name = display(path);
    let failed = |error: std::io::Error| Failure::invalid(format!("cannot read {name}: {error}"));
    let mut text = String::new();
    let read = if is_stdin(path) {
        std::io::stdin().lock().take(MAX_FILE_BYTES + 1).read_to_string(&mut text)
    } else {
        fs::File::open(path).map_err(failed)?.take(MAX_FILE_BYTES + 1).read_to_string(&mut text)
    };
    if read.map_err(failed)? as u64 > MAX_FILE_BYTES {
        return Err(Failure::invalid(format!("{name} is larger than {MAX_FILE_BYTES} bytes")));
    }
    Ok(text)
}

/// `message` with `changes` made to it.
///
/// # Errors
/// If a change does not fit.
pub fn change<T: Serialize + DeserializeOwned + Name>(message: &T, changes: &[Assignment]) -> Result<T, Failure> {
    let mut document = serde_json::to_value(Canonical(message))
        .map_err(|error| Failure::invalid(format!("cannot be changed: {error}")))?;
    for change in changes {
        change.apply(&reflect::descriptor::<T>(), &mut document)?;
    }
    typed(&document, Scale::default()).map_err(|problem| Failure::invalid(format!("with --set applied: {problem}")))
}

/// The message in a document, as people write messages. What the document does not say of its lengths is as in `scale`.
///
/// # Errors
/// What cannot be read, with its path.
pub(super) fn typed<T: DeserializeOwned + Name>(document: &Value, scale: Scale) -> Result<T, Problem> {
    let mut document = document.clone();
    lengths::resolve(&reflect::descriptor::<T>(), &mut document, scale)?;
    let canonical = written::read(&reflect::descriptor::<T>(), &document)?;
    T::deserialize(canonical).map_err(|error| Problem::at("", error.to_string()))
}

/// The jobs in `text`, the content of the file `name`.
pub(crate) fn parse(name: &str, text: &str, changes: &[Assignment]) -> Result<Vec<Job>, Failure> {
    parse_in(name, text, changes, Scale::default())
}

fn parse_in(name: &str, text: &str, changes: &[Assignment], scale: Scale) -> Result<Vec<Job>, Failure> {
    let documents = yaml::documents(text).map_err(|error| explain(name, &error))?;
    // A line of dashes at the end begins a document that is nothing.
    let written: Vec<(usize, &Value)> =
        documents.iter().enumerate().filter(|(_, document)| !document.is_null()).collect();
    if written.is_empty() {
        return Err(Failure::invalid(format!("{name} is empty")).with_hint("examples/ has job files to begin with"));
    }
    // The top-level fields tell a bare spec from a job, so that errors are about the right message.
    let is_job = |document: &Value| document.get("spec").is_some() || document.get("name").is_some();
    let of_jobs = documents.iter().any(is_job);
    let read = written.into_iter().map(|(index, document)| {
        if !document.is_object() {
            let problem = Problem::at("", "this is not a job: a job has names and values".to_owned());
            return Err(misread(name, text, index, &problem).with_hint(
                "a job file is YAML, with `name: vision/cifar` and `spec:` at its top, the fields of the spec below that, \
                 and a line `---` between two jobs",
            ));
        }
        let job = if of_jobs {
            typed(document, scale)
        } else {
            typed(document, scale).map(|spec| Job { spec: Some(spec), ..Job::default() })
        };
        change(&job.map_err(|problem| misread(name, text, index, &problem))?, changes)
    });
    all(read)
}

/// All that was read, or all that could not be.
fn all<T>(read: impl Iterator<Item = Result<T, Failure>>) -> Result<Vec<T>, Failure> {
    let (mut found, mut failures) = (Vec::new(), Vec::new());
    for one in read {
        match one {
            Ok(one) => found.push(one),
            Err(failure) => failures.push(failure),
        }
    }
    let mut failures = failures.into_iter();
    let Some(mut first) = failures.next() else { return Ok(found) };
    for other in failures.take(MAX_FAILURES) {
        first.message += "; ";
        first.message += &other.message;
    }
    Err(first)
}

/// The failure that something in a document of a file cannot be read.
pub(super) fn misread(name: &str, text: &str, document: usize, problem: &Problem) -> Failure {
    let place =
        place::of(text, document, problem).map_or_else(String::new, |(line, column)| format!(":{line}:{column}"));
    Failure::invalid(format!("{name}{place}: {problem}"))
}

/// Where in the file the error is, what it is, and the nearest valid name.
pub(super) fn explain(name: &str, error: &Error) -> Failure {
    let place = match error.location() {
        Some(location) if location.line() > 0 => format!("{name}:{}:{}", location.line(), location.column()),
        _ => name.to_owned(),
    };
    Failure::invalid(format!("{place}: {}", yaml::syntax(error)))
}

fn is_stdin(path: &Path) -> bool {
    path.as_os_str() == "-"
}

/// The name of the file at `path` for people.
pub(super) fn display(path: &Path) -> String {
    if is_stdin(path) { "standard input".to_owned() } else { path.display().to_string() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::{JobSpec, schedule::Form};

    const JOB: &str = "
name: namespaces/vision/jobs/cifar
spec:
  total_steps: 1000
  groups:
    - name: backbone
      base_lr: 1e-1
  schedule:
    cosine: {}
";

    fn jobs(text: &str) -> Result<Vec<Job>, Failure> {
        parse("job.yaml", text, &[])
    }

    fn spec(job: &Job) -> &JobSpec {
        job.spec.as_ref().unwrap()
    }

    #[test]
    fn a_job_file_is_the_message_in_yaml_or_json() {
        let yaml = jobs(JOB).unwrap();
        let json = serde_json::to_string(&yaml[0]).unwrap();
        assert_eq!(jobs(&json).unwrap(), yaml);
        assert_eq!(yaml[0].name, "namespaces/vision/jobs/cifar");
        assert_eq!((spec(&yaml[0]).total_steps, spec(&yaml[0]).groups[0].base_lr), (Some(1000), 0.1));
        assert!(matches!(spec(&yaml[0]).schedule.as_ref().unwrap().form, Some(Form::Cosine(_))));
    }

    #[test]
    fn a_bare_spec_is_a_job_without_a_name() {
        let read = jobs("groups: [{base_lr: 0.5}]\n---\ngroups: [{base_lr: 2}]\n").unwrap();
        assert_eq!(read.iter().map(|job| spec(job).groups[0].base_lr).collect::<Vec<_>>(), [0.5, 2.0]);
    }

    #[test]
    fn a_misspelled_field_is_named_with_its_line_and_the_nearest_one() {
        let failure = jobs(&JOB.replace("base_lr", "base_rl")).unwrap_err();
        assert!(failure.message.starts_with("job.yaml:7:"), "{failure}");
        assert!(failure.message.contains("\"base_rl\""), "{failure}");
        assert!(
            failure.message.contains("did you mean \"base_lr\"?") && !failure.message.contains("baseLr"),
            "{failure}"
        );
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_its_line() {
        let failure = jobs(&JOB.replace("1e-1", "fast")).unwrap_err();
        assert!(failure.message.starts_with("job.yaml:7:"), "{failure}");
        let failure = jobs(&JOB.replace("1e-1", "[1]")).unwrap_err();
        assert!(failure.message.starts_with("job.yaml:7:") && failure.message.contains("write a number"), "{failure}");
        let failure = jobs(&JOB.replace("cosine: {}", "cosine: {}\n    linear: {}")).unwrap_err();
        assert!(failure.message.contains("job.yaml:"), "{failure}");
    }

    #[test]
    fn what_is_wrong_is_said_with_its_place_and_in_our_own_words() {
        let jobs = |old: &str, new: &str| jobs(&(JOB.to_owned() + "---" + &JOB.replace(old, new)));
        for (old, new, place, says) in [
            (
                "total_steps: 1000",
                "total_steps: 1000\n  total_steps: 5",
                "job.yaml:14:3",
                "\"total_steps\" is there already",
            ),
            (
                "total_steps",
                "total_step",
                "job.yaml:13:3",
                "spec.total_step: the field \"total_step\" is not allowed here",
            ),
            (
                "total_steps: 1000",
                "total_steps: 1.5",
                "job.yaml:13:16",
                "1.5 is not allowed here: write a whole number",
            ),
            ("cosine: {}", "cosin: {}", "job.yaml:18:5", "spec.schedule.cosin"),
            ("\n    cosine: {}", " cosin", "job.yaml:17:13", "did you mean \"cosine\"?"),
            ("cosine: {}", "cosine: {}\n    linear: {}", "job.yaml:19:5", "there may be one of them"),
            ("cosine: {}", "cosine: {", "job.yaml:", ""),
            ("cosine: {}", "cosine: *nowhere", "job.yaml:18:", ""),
        ] {
            let failure = jobs(old, new).unwrap_err();
            assert!(failure.message.starts_with(place) && failure.message.contains(says), "{new}: {failure}");
            for foreign in ["Policy", "policy", "serde", "struct", "enum", "variant", "untagged", "deserializ"] {
                assert!(!failure.message.contains(foreign), "{failure}");
            }
        }
    }

    #[test]
    fn a_name_alone_is_the_form_of_this_name() {
        let read = jobs(&JOB.replace("\n    cosine: {}", " cosine").replace("groups:", "controllers: auto\n  groups:"));
        let read = read.unwrap();
        assert!(matches!(spec(&read[0]).schedule.as_ref().unwrap().form, Some(Form::Cosine(_))));
        assert_eq!(spec(&read[0]).controllers.len(), 1);
    }

    #[test]
    fn every_wrong_job_is_told() {
        let text = [JOB.replace("base_lr", "base_rl"), JOB.to_owned(), JOB.replace("1e-1", "fast")].join("---");
        let failure = jobs(&text).unwrap_err();
        assert!(failure.message.contains("job.yaml:7:") && failure.message.contains("job.yaml:25:"), "{failure}");
    }

    #[test]
    fn what_is_no_job_at_all_is_told_what_one_looks_like() {
        for text in ["- name: a/b\n- name: a/c\n", "name = \"a/b\"\n", "just a text", "5"] {
            let failure = jobs(text).unwrap_err();
            assert!(failure.message.contains("this is not a job"), "{failure}");
            assert!(
                failure.hint.as_deref().is_some_and(|hint| hint.contains("spec:") && hint.contains("---")),
                "{text}"
            );
        }
    }

    #[test]
    fn a_value_that_is_left_empty_is_not_set_or_is_named_with_what_to_write() {
        let read = jobs("name:\nspec:\n  groups:\n    - base_lr: 0.1\n  controllers:\n  total_steps:\n---\n").unwrap();
        assert_eq!((read.len(), read[0].name.as_str(), spec(&read[0]).total_steps), (1, "", None));
        for (text, says) in [
            (
                JOB.replace("cosine: {}", "cosine:"),
                "job.yaml:9:11: spec.schedule.cosine: no value is not allowed here: write {cosine: {}}",
            ),
            (JOB.replace("total_steps: 1000", "total_steps: !foo 1000"), "the tag !foo"),
            (JOB.replace("1e-1", ".nan"), ""),
        ] {
            match jobs(&text) {
                Ok(read) => assert!(spec(&read[0]).groups[0].base_lr.is_nan() && says.is_empty(), "{text}"),
                Err(failure) => assert!(failure.message.contains(says) && !says.is_empty(), "{failure}"),
            }
        }
    }

    #[test]
    fn an_empty_file_is_refused() {
        assert!(jobs("").unwrap_err().message.contains("empty"));
        assert!(jobs("# only a comment\n").unwrap_err().message.contains("empty"));
        assert!(jobs("---\n---\n").unwrap_err().message.contains("empty"));
    }

    #[test]
    fn lengths_may_be_in_words_in_the_file_and_in_changes() {
        let text = JOB.replace("total_steps: 1000", "total_steps: 90ep\n  steps_per_epoch: 100");
        let text = text.replace("cosine: {}", "warmup: {warmup_steps: 5%}");
        let warmup = |job: &Job| match spec(job).schedule.as_ref().unwrap().form.as_ref().unwrap() {
            Form::Warmup(warmup) => warmup.warmup_steps,
            other => panic!("{other:?}"),
        };
        let read = jobs(&text).unwrap();
        assert_eq!((spec(&read[0]).total_steps, warmup(&read[0])), (Some(9000), 450));
        let change = ["spec.schedule.warmup.warmup_steps=3ep".parse().unwrap()];
        assert_eq!(warmup(&parse("job.yaml", &text, &change).unwrap()[0]), 300);
        let failure = jobs(&text.replace("5%", "5 parsecs")).unwrap_err();
        let expected = "job.yaml:10:28: spec.schedule.warmup.warmup_steps: \"5 parsecs\" is not a length";
        assert!(failure.message.starts_with(expected), "{failure}");
    }

    #[test]
    fn changes_are_made_to_every_document() {
        let text = format!("{JOB}---{JOB}");
        let change = ["spec.groups[0].base_lr=0.2".parse().unwrap()];
        let read = parse("job.yaml", &text, &change).unwrap();
        assert_eq!(read.iter().map(|job| spec(job).groups[0].base_lr).collect::<Vec<_>>(), [0.2, 0.2]);
        let misspelled = parse("job.yaml", JOB, &["spec.total_step=1".parse().unwrap()]).unwrap_err();
        assert!(misspelled.message.contains("total_step"), "{misspelled}");
    }
}
