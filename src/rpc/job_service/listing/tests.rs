//! Pages and the queries behind them.

use super::*;

fn wrong<T: std::fmt::Debug>(result: Result<T, Error>) -> Vec<String> {
    match result {
        Err(Error::Invalid(violations)) => violations.iter().map(|violation| violation.field.clone()).collect(),
        other => panic!("{other:?}"),
    }
}

fn list(parent: &str) -> ListJobsRequest {
    ListJobsRequest { parent: parent.into(), ..Default::default() }
}

#[test]
fn a_listing_is_of_a_namespace_or_of_all() {
    assert_eq!(job_query(&list("namespaces/a")).unwrap().namespace, Some("a".into()));
    let query = job_query(&list("namespaces/-")).unwrap();
    assert_eq!((query.namespace, query.limit, query.after), (None, 100, None));
}

#[test]
fn everything_wrong_with_a_listing_is_named_at_once() {
    let request = ListJobsRequest {
        parent: "a".into(),
        page_size: 1001,
        page_token: "?".into(),
        filter: "a".into(),
        order_by: "a".into(),
    };
    assert_eq!(wrong(job_query(&request)), ["parent", "filter", "order_by", "page_size", "page_token"]);
}

#[test]
fn a_token_leads_on_in_the_same_query_only() {
    let id = JobId(uuid::Uuid::from_u128(7));
    let mut request = ListJobsRequest { filter: "arm = BASELINE".into(), ..list("namespaces/a") };
    request.page_token = page_token::write(&job_fingerprint(&request), Cursor::Name("namespaces/a/jobs/b".into(), id));
    assert_eq!(job_query(&request).unwrap().after, Some(JobCursor::Name("namespaces/a/jobs/b".into(), id)));
    let larger_page = ListJobsRequest { page_size: 5, ..request.clone() };
    assert!(job_query(&larger_page).is_ok());
    let other = ListJobsRequest { filter: String::new(), ..request };
    assert_eq!(wrong(job_query(&other)), ["page_token"]);
}

#[test]
fn attempts_come_in_pages_without_gaps_or_repeats() {
    let row = |attempt| AttemptRow {
        attempt,
        token: String::new(),
        resume_step: 0,
        parent_attempt: 0,
        reporting_ranks: None,
        reserved_end: 0,
        create_time: Timestamp(0),
    };
    let all: Vec<_> = (1..=5).map(row).collect();
    let mut seen = Vec::new();
    let mut after = Some(0);
    while let Some(from) = after {
        let (page, next) = attempts_page(&all, from, 2);
        seen.extend(page.iter().map(|row| row.attempt));
        after = next;
    }
    assert_eq!(seen, [1, 2, 3, 4, 5]);
    assert_eq!(attempts_page(&all, 3, 2).1, None);
}

fn telemetry_of(request: &QueryTelemetryRequest) -> Result<TelemetryQuery, Error> {
    let mut v = Violations::new();
    let query = telemetry_query(&mut v, request);
    v.into_result(query).map_err(Error::Invalid)
}

#[test]
fn telemetry_is_raw_unless_points_are_asked_for() {
    let query = telemetry_of(&QueryTelemetryRequest::default()).unwrap();
    assert_eq!(query.amount, TelemetryAmount::Raw { limit: 10_000 });
    assert_eq!((query.start_step, query.end_step, query.attempt), (0, MAX_STEP + 1, None));
    let query = telemetry_of(&QueryTelemetryRequest { max_points: 500, attempt: 3, ..Default::default() }).unwrap();
    assert_eq!((query.amount, query.attempt), (TelemetryAmount::DownSampled { max_points: 500 }, Some(3)));
}

#[test]
fn the_next_page_of_telemetry_begins_at_its_token() {
    let mut request = QueryTelemetryRequest { start_step: 5, ..Default::default() };
    let token = page_token::write(&telemetry_fingerprint(&request), 777_u64);
    request.page_token = token;
    assert_eq!(telemetry_of(&request).unwrap().start_step, 777);
    assert_eq!(wrong(telemetry_of(&QueryTelemetryRequest { start_step: 6, ..request.clone() })), ["page_token"]);
    assert_eq!(wrong(telemetry_of(&QueryTelemetryRequest { max_points: 9, ..request })), ["page_token"]);
}

#[test]
fn everything_wrong_with_a_query_is_named_at_once() {
    let request = QueryTelemetryRequest {
        attempt: -1,
        start_step: -1,
        end_step: Some(-1),
        max_points: 1,
        page_size: 100_001,
        ..Default::default()
    };
    assert_eq!(wrong(telemetry_of(&request)), ["start_step", "end_step", "page_size", "max_points", "attempt"]);
}
