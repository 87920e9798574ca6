//! The service for audit reports.

use crate::rpc::status;
use tonic::{Request, Response, Status};

use super::{
    convert::report,
    door::Door,
    fields::{checked, only_job_name},
};
use lrs_audit::Audit;
use lrs_engine::{Engine, Error};
use lrs_model::{name::check_part, violation::Violations};
use lrs_proto::{
    AuditReport, GetAuditReportRequest, get_audit_report_request::Subject, report_service_server::ReportService,
};

/// [`ReportService`] in front of the engine.
#[derive(Clone)]
pub struct Reports {
    door: Door,
}

impl Reports {
    pub(super) fn new(door: Door) -> Self {
        Self { door }
    }
}

#[tonic::async_trait]
impl ReportService for Reports {
    async fn get_audit_report(&self, request: Request<GetAuditReportRequest>) -> Result<Response<AuditReport>, Status> {
        let engine = self.door.engine()?;
        let audit = audit(&engine, request.into_inner()).await.map_err(status::of)?;
        Ok(Response::new(report::to_proto(&audit)))
    }
}

async fn audit(engine: &Engine, request: GetAuditReportRequest) -> Result<Audit, Error> {
    let mut violations = Violations::new();
    let target = request.target;
    if target.is_some_and(|target| !target.is_finite()) {
        violations.add("target", "must be a finite number");
    }
    checked(violations, Some(()))?;
    match request.subject {
        Some(Subject::Job(name)) => engine.audit_job(&only_job_name("job", &name)?, target).await,
        Some(Subject::Experiment(name)) => {
            let (namespace, experiment) = experiment(&name)?;
            engine.audit_experiment(namespace, experiment, target).await
        }
        None => {
            let mut violations = Violations::new();
            violations.add("subject", "is required: exactly one of `job` and `experiment`");
            Err(Error::Invalid(violations))
        }
    }
}

fn experiment(name: &str) -> Result<(&str, &str), Error> {
    let parts = report::experiment_from_name(name).filter(|(namespace, _)| check_part(namespace).is_ok());
    let mut violations = Violations::new();
    if parts.is_none() {
        violations.refuse("experiment", format_args!("{name:?}"), "namespaces/{namespace}/experiments/{experiment}");
    }
    checked(violations, parts)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_no_experiment_is_refused_with_what_it_should_be() {
        assert_eq!(experiment("namespaces/a/experiments/b c").unwrap(), ("a", "b c"));
        for wrong in ["b", "namespaces//experiments/b", "namespaces/a/jobs/b"] {
            let problem = experiment(wrong).unwrap_err().to_string();
            assert!(problem.contains("namespaces/{namespace}/experiments/{experiment}"), "{problem}");
        }
    }
}
