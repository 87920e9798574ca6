//! Names of jobs as people type them: in full, as `namespace/job`, or as `job` alone.

use super::failure::Failure;
use lrs_model::{
    name::{InvalidName, JobName, check_part},
    typed::bare,
};

/// The namespace of jobs that are named without one.
#[derive(Clone, Debug, clap::Args)]
pub struct NamespaceArg {
    /// Namespace of jobs that are named without one
    #[arg(short, long, env = "LRS_NAMESPACE", default_value = "default", value_parser = namespace, global = true)]
    pub namespace: String,
}

impl NamespaceArg {
    /// The resource name of the job typed as `text`.
    ///
    /// # Errors
    /// If the text is not a name.
    pub fn resolve(&self, text: &str) -> Result<JobName, Failure> {
        Ok(resolve(text, &self.namespace)?)
    }
}

/// The resource name of the job typed as `text`, in `namespace` unless the text names another one.
///
/// # Errors
/// If the text is not a name.
pub fn resolve(text: &str, namespace: &str) -> Result<JobName, InvalidName> {
    match text.split('/').collect::<Vec<_>>()[..] {
        [job] => JobName::new(namespace, job),
        [namespace, job] => JobName::new(namespace, job),
        _ => text.parse(),
    }
}

/// The resource name of a namespace.
#[must_use]
pub fn parent(namespace: &str) -> String {
    format!("namespaces/{namespace}")
}

fn namespace(text: &str) -> Result<String, InvalidName> {
    let text = bare(text);
    check_part(text).map(|()| text.to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_job_may_be_named_in_three_ways() {
        for text in ["cifar", "vision/cifar", "namespaces/vision/jobs/cifar"] {
            assert_eq!(resolve(text, "vision").unwrap().as_str(), "namespaces/vision/jobs/cifar");
        }
        assert_eq!(resolve("text/gpt", "vision").unwrap().namespace(), "text");
    }

    #[test]
    fn what_is_no_name_is_refused() {
        for text in ["", "/", "a/", "a/b/c", "namespaces/a/jobs/", "-a", "a b"] {
            assert!(resolve(text, "default").is_err(), "{text:?}");
        }
    }
}
