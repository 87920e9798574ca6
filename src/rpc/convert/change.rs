//! Changes on record.

use super::{int64, time};
use lrs_model::change::Change;
use lrs_proto as proto;

/// A change on the wire.
#[must_use]
pub fn to_proto(change: &Change) -> proto::Change {
    let job = &change.job_name;
    let kind = proto::change::Kind::from_str_name(&format!("KIND_{}", change.kind.as_str()));
    let origin = proto::change::Origin::from_str_name(&format!("ORIGIN_{}", change.origin.as_str()));
    proto::Change {
        name: format!("{job}/changes/{}", change.id.simple()),
        job_uid: change.job.to_string(),
        kind: kind.unwrap_or_default().into(),
        detail: change.detail.clone(),
        author: change.author.clone(),
        reason: change.reason.clone(),
        origin: origin.unwrap_or_default().into(),
        step: change.step.map(int64),
        decision: change.decision.as_ref().map(|id| format!("{job}/decisions/{id}")).unwrap_or_default(),
        request_id: change.request_id.clone().unwrap_or_default(),
        create_time: Some(time::to_proto(change.create_time)),
        summary: change.sentence().to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_model::change::{ChangeKind, Origin};

    #[test]
    fn every_kind_and_origin_is_known_on_both_sides() {
        let wire: Vec<_> = (1..).map_while(|number| proto::change::Kind::try_from(number).ok()).collect();
        let ours = ChangeKind::ALL.iter().map(|kind| format!("KIND_{}", kind.as_str()));
        assert_eq!(ours.collect::<Vec<_>>(), wire.iter().map(proto::change::Kind::as_str_name).collect::<Vec<_>>());
        let wire: Vec<_> = (1..).map_while(|number| proto::change::Origin::try_from(number).ok()).collect();
        let ours = Origin::ALL.iter().map(|origin| format!("ORIGIN_{}", origin.as_str()));
        assert_eq!(ours.collect::<Vec<_>>(), wire.iter().map(proto::change::Origin::as_str_name).collect::<Vec<_>>());
    }
}
