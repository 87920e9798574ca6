//! The rates of all groups, from the rate of the first group.

/// Base rates in the same proportion as `written`, with `rate` as the first.
///
/// If `written` is 0 throughout, every group gets `rate`. `None` if only the first group's written rate is 0, because
/// there is then no proportion to keep. Never empty for a non-empty `written`; not finite where a proportion is too
/// large.
#[must_use]
pub fn in_proportion(rate: f64, written: &[f64]) -> Option<Vec<f64>> {
    let first = *written.first()?;
    if written.iter().all(|&base_lr| base_lr == 0.0) {
        return Some(vec![rate; written.len()]);
    }
    // Equal rates stay equal in every bit.
    let share = |&base_lr: &f64| if base_lr.to_bits() == first.to_bits() { rate } else { rate * (base_lr / first) };
    (first != 0.0).then(|| written.iter().map(share).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_group_has_the_rate_and_the_others_keep_their_share() {
        assert_eq!(in_proportion(0.1, &[1.0, 0.5, 0.0]), Some(vec![0.1, 0.05, 0.0]));
        assert_eq!(in_proportion(0.1, &[0.3, 0.3]), Some(vec![0.1, 0.1]));
    }

    #[test]
    fn groups_with_nothing_written_all_have_the_rate() {
        assert_eq!(in_proportion(0.1, &[0.0]), Some(vec![0.1]));
        assert_eq!(in_proportion(0.1, &[0.0, 0.0]), Some(vec![0.1, 0.1]));
    }

    #[test]
    fn there_is_no_proportion_to_a_first_group_at_0() {
        assert_eq!(in_proportion(0.1, &[0.0, 0.3]), None);
    }
}
