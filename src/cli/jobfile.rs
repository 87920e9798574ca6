//! Job files: the message `lrs.v1.Job`, or a bare `lrs.v1.JobSpec`, in canonical JSON or YAML; several documents are
//! several jobs.

use std::{fs, io::Read as _, path::Path};

use prost::Name;
use serde::de::DeserializeOwned;
use serde_json::Value;
use serde_saphyr::Error;

use super::{assignment::Assignment, failure::Failure};
use lrs_proto::{
    Job, JobSpec,
    json::Canonical,
    lengths::{self, Scale},
    reflect,
};

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
pub fn change<T: serde::Serialize + DeserializeOwned + Name>(
    message: &T,
    changes: &[Assignment],
) -> Result<T, Failure> {
    let mut document = serde_json::to_value(Canonical(message))
        .map_err(|error| Failure::invalid(format!("cannot be changed: {error}")))?;
    for change in changes {
        change.apply(&mut document)?;
    }
    lengths::resolve(&reflect::descriptor::<T>(), &mut document, Scale::default())
        .map_err(|problem| Failure::invalid(format!("with --set applied: {problem}")))?;
    T::deserialize(document).map_err(|error| Failure::invalid(format!("with --set applied: {error}")))
}

/// The jobs in `text`, the content of the file `name`.
pub(crate) fn parse(name: &str, text: &str, changes: &[Assignment]) -> Result<Vec<Job>, Failure> {
    parse_in(name, text, changes, Scale::default())
}

fn parse_in(name: &str, text: &str, changes: &[Assignment], scale: Scale) -> Result<Vec<Job>, Failure> {
    let documents: Vec<Value> = documents(name, text)?;
    // The top-level fields tell a bare spec from a job, so that errors are about the right message.
    let is_job = |document: &Value| document.get("spec").is_some() || document.get("name").is_some();
    let jobs: Vec<Job> = if documents.iter().any(is_job) {
        documents_of(name, text, documents, scale)?
    } else {
        documents_of(name, text, documents, scale)?
            .into_iter()
            .map(|spec: JobSpec| Job { spec: Some(spec), ..Job::default() })
            .collect()
    };
    if jobs.is_empty() {
        return Err(Failure::invalid(format!("{name} is empty")).with_hint("examples/ has job files to begin with"));
    }
    jobs.iter().map(|job| change(job, changes)).collect()
}

fn documents(name: &str, text: &str) -> Result<Vec<Value>, Failure> {
    serde_saphyr::from_multiple(text).map_err(|error| explain(name, &error))
}

/// The messages in `text`, which has these `documents`. A message without lengths in words is read from the text, so that
/// an error has its line.
fn documents_of<T: DeserializeOwned + Name>(
    name: &str,
    text: &str,
    mut documents: Vec<Value>,
    scale: Scale,
) -> Result<Vec<T>, Failure> {
    let failed = |problem: String| Failure::invalid(format!("{name}: {problem}"));
    let mut has_words = false;
    for document in &mut documents {
        has_words |= lengths::resolve(&reflect::descriptor::<T>(), document, scale).map_err(failed)?;
    }
    if !has_words {
        return serde_saphyr::from_multiple(text).map_err(|error| explain(name, &error));
    }
    // A document with comments alone is nothing.
    let documents = documents.into_iter().filter(|document| !document.is_null());
    documents.map(|document| T::deserialize(document).map_err(|error| failed(error.to_string()))).collect()
}

/// Where in the file the error is, what it is, and the nearest valid name.
pub(super) fn explain(name: &str, error: &Error) -> Failure {
    let place = match error.location() {
        Some(location) if location.line() > 0 => format!("{name}:{}:{}", location.line(), location.column()),
        _ => name.to_owned(),
    };
    match error.without_snippet() {
        Error::SerdeUnknownField { field, expected, .. } => {
            let known = snake_case_only(expected);
            let failure = Failure::invalid(format!("{place}: there is no field {field:?} here"));
            failure.with_hint(match nearest(field, &known) {
                Some(meant) => format!("did you mean {meant:?}? The fields are: {}", known.join(", ")),
                None => format!("the fields are: {}", known.join(", ")),
            })
        }
        Error::SerdeUnknownVariant { variant, expected, .. } => {
            let failure = Failure::invalid(format!("{place}: {variant:?} is not allowed"));
            failure.with_hint(format!("must be one of: {}", expected.join(", ")))
        }
        other => {
            let message = other.to_string();
            let first_line = message.lines().next().unwrap_or_default();
            // serde's message about the helper that also reads numbers from text.
            let problem =
                if first_line.contains("untagged enum Content") { "a number is needed here" } else { first_line };
            Failure::invalid(format!("{place}: {problem}"))
        }
    }
}

/// The name in `known` that is nearest to the one written, if any is near.
fn nearest<'a>(written: &str, known: &[&'a str]) -> Option<&'a str> {
    let similarity = |name: &str| strsim::jaro_winkler(written, name);
    let best = known.iter().copied().max_by(|a, b| similarity(a).total_cmp(&similarity(b)))?;
    (similarity(best) > 0.75).then_some(best)
}

/// The generated code lists names of several words in two spellings; this keeps the spelling of the .proto files.
fn snake_case_only<'a>(names: &[&'a str]) -> Vec<&'a str> {
    names.iter().copied().filter(|name| !name.contains(char::is_uppercase)).collect()
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
        let hint = failure.hint.unwrap();
        assert!(hint.starts_with("did you mean \"base_lr\"?") && !hint.contains("baseLr"), "{hint}");
    }

    #[test]
    fn a_value_of_the_wrong_kind_is_named_with_its_line() {
        let failure = jobs(&JOB.replace("1e-1", "fast")).unwrap_err();
        assert!(failure.message.starts_with("job.yaml:7:"), "{failure}");
        let failure = jobs(&JOB.replace("1e-1", "[1]")).unwrap_err();
        assert!(
            failure.message.starts_with("job.yaml:7:") && failure.message.contains("a number is needed"),
            "{failure}"
        );
        let failure = jobs(&JOB.replace("cosine: {}", "cosine: {}\n    linear: {}")).unwrap_err();
        assert!(failure.message.contains("job.yaml:"), "{failure}");
    }

    #[test]
    fn an_empty_file_is_refused() {
        assert!(jobs("").unwrap_err().message.contains("empty"));
        assert!(jobs("# only a comment\n").unwrap_err().message.contains("empty"));
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
        assert!(failure.message.starts_with("job.yaml: spec.schedule.warmup.warmup_steps: \"5 parsecs\""), "{failure}");
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
