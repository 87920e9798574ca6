//! The stream of a job's events.

use crate::rpc::status;
use futures::{Stream, stream};
use tokio_util::sync::CancellationToken;
use tonic::Status;

use crate::rpc::convert::{self, int64};
use lrs_engine::{Error, Event, Watch};
use lrs_model::name::JobName;
use lrs_proto::{WatchJobResponse, watch_job_response};

/// The events of `job`. The stream ends with an error if it ends before the job has: with `UNAVAILABLE` when the process
/// is about to end, or owns the database no more.
pub(super) fn responses(
    job: JobName,
    events: Watch,
    drain: CancellationToken,
) -> impl Stream<Item = Result<WatchJobResponse, Status>> + Send {
    stream::unfold((job, Some(events), drain), |(job, events, drain)| async move {
        let mut events = events?;
        let event = tokio::select! {
            event = events.next() => event.transpose()?,
            () = drain.cancelled() => Err(Error::ShuttingDown),
        };
        let event = match event {
            Ok(event) => event,
            Err(why) => return Some((Err(status::of(why)), (job, None, drain))),
        };
        let response = to_proto(&job, event);
        Some((Ok(response), (job, Some(events), drain)))
    })
}

fn to_proto(job: &JobName, event: Event) -> WatchJobResponse {
    use watch_job_response::Event as Wire;
    let event = match event {
        Event::Job(view) => Wire::Job(convert::job::to_proto(&view)),
        Event::Decision(decision) => Wire::Decision(convert::decision::to_proto(job, &decision)),
        Event::Change(change) => Wire::Change(convert::change::to_proto(&change)),
        Event::Record(sample) => Wire::Record(convert::telemetry::record_to_proto(&sample)),
        Event::Missed(count) => Wire::MissedEvents(int64(count)),
    };
    WatchJobResponse { event: Some(event) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::telemetry::Sample;

    #[test]
    fn a_record_keeps_its_metrics() {
        let mut sample = Sample { loss: Some(f64::NEG_INFINITY), ..Sample::new(3) };
        sample.add_metric("acc".into(), 0.5);
        let job = JobName::new("a", "b").unwrap();
        let Some(watch_job_response::Event::Record(record)) = to_proto(&job, Event::Record(Box::new(sample))).event
        else {
            panic!("not a record")
        };
        assert_eq!((record.step, record.loss), (3, Some(f64::NEG_INFINITY)));
        assert_eq!(record.metrics["acc"].to_bits(), 0.5_f64.to_bits());
    }

    #[test]
    fn a_slow_reader_is_told_what_it_missed() {
        let job = JobName::new("a", "b").unwrap();
        assert_eq!(to_proto(&job, Event::Missed(4)).event, Some(watch_job_response::Event::MissedEvents(4)));
    }
}
