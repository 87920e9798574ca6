//! Times: microseconds in the model, seconds and nanoseconds on the wire.

use lrs_model::job::Timestamp;

const MICROS_PER_SECOND: i64 = 1_000_000;

/// A time on the wire.
#[must_use]
pub fn to_proto(time: Timestamp) -> pbjson_types::Timestamp {
    let micros = time.0.rem_euclid(MICROS_PER_SECOND);
    pbjson_types::Timestamp {
        seconds: time.0.div_euclid(MICROS_PER_SECOND),
        // Below 10^9, so the conversion cannot fail.
        nanos: i32::try_from(micros * 1000).unwrap_or_default(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_before_the_epoch_counts_its_nanoseconds_forward() {
        assert_eq!(to_proto(Timestamp(-1)), pbjson_types::Timestamp { seconds: -1, nanos: 999_999_000 });
        assert_eq!(to_proto(Timestamp(1_500_000)), pbjson_types::Timestamp { seconds: 1, nanos: 500_000_000 });
    }
}
