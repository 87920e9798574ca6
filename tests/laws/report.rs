//! The audit report's figures: laws, SciPy's answers, which jobs are compared, and the documents to the byte.

mod arms;
mod builders;
mod documents;
mod jobs;
mod scipy;
