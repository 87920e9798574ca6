//! Steps as people list them: `0,10,20..100` or `0..1000:50`. Ranges include both ends.

use std::str::FromStr;

use lrs_model::MAX_STEP;
use lrs_proto::lengths::{self, Scale};

/// The most steps that one list may name.
const MAX_STEPS: usize = 100_000;

/// Steps as they were listed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StepList(String);

/// Why a list of steps is invalid.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSteps {
    /// A part is neither a step nor a range.
    #[error(
        "{0:?} is not allowed: must be a step, a range such as 20..100, or a range with a distance such as 0..1000:50; \
         each may be in words, such as 5ep"
    )]
    Part(String),
    /// A part in words, of which the job does not say what they need.
    #[error("{0}")]
    Words(String),
    /// A range that ends before it begins.
    #[error("{0:?} ends before it begins")]
    Falling(String),
    /// A range whose distance is 0.
    #[error("{0:?} has no distance: must be at least 1")]
    Standing(String),
    /// A step is too large.
    #[error("{0} is not allowed: steps go up to {MAX_STEP}")]
    TooLarge(u64),
    /// There are too many steps.
    #[error("the list has more than {MAX_STEPS} steps")]
    TooMany,
}

impl FromStr for StepList {
    type Err = InvalidSteps;

    fn from_str(text: &str) -> Result<Self, InvalidSteps> {
        let list = Self(text.to_owned());
        let is_in_words = text.contains(|c: char| c.is_alphabetic() || c == '%');
        match list.in_steps(Scale::ANY) {
            Err(problem @ InvalidSteps::Part(_)) => Err(problem),
            // Which of two steps in words is the later is not known yet.
            Err(problem) if !is_in_words => Err(problem),
            _ => Ok(list),
        }
    }
}

impl StepList {
    /// The steps, rising, each once; words are measured by `scale`.
    ///
    /// # Errors
    /// The part that is wrong, or that there are too many steps.
    pub fn in_steps(&self, scale: Scale) -> Result<Vec<u64>, InvalidSteps> {
        let mut steps = Vec::new();
        for part in self.0.split(',') {
            let (first, last, distance) = range(part.trim(), scale)?;
            let distance_steps = usize::try_from(distance).unwrap_or(usize::MAX);
            // One more than the limit is enough to know that there are too many.
            steps.extend((first..=last).step_by(distance_steps).take(MAX_STEPS + 1 - steps.len()));
            if steps.len() > MAX_STEPS {
                return Err(InvalidSteps::TooMany);
            }
        }
        steps.sort_unstable();
        steps.dedup();
        Ok(steps)
    }
}

/// First step, last step and distance of `part`.
fn range(part: &str, scale: Scale) -> Result<(u64, u64, u64), InvalidSteps> {
    let whole = |text: &str| {
        let text = text.trim();
        text.parse::<u64>().or_else(|_| match lengths::steps(text, Scale::ANY) {
            Ok(_) => lengths::steps(text, scale).map_err(InvalidSteps::Words),
            Err(_) => Err(InvalidSteps::Part(part.to_owned())),
        })
    };
    let (first, last, distance) = match part.split_once("..") {
        None => (whole(part)?, whole(part)?, 1),
        Some((first, rest)) => match rest.split_once(':') {
            None => (whole(first)?, whole(rest)?, 1),
            Some((last, distance)) => (whole(first)?, whole(last)?, whole(distance)?),
        },
    };
    if last > MAX_STEP {
        Err(InvalidSteps::TooLarge(last))
    } else if last < first {
        Err(InvalidSteps::Falling(part.to_owned()))
    } else if distance == 0 {
        Err(InvalidSteps::Standing(part.to_owned()))
    } else {
        Ok((first, last, distance))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(text: &str) -> Result<Vec<u64>, InvalidSteps> {
        text.parse().and_then(|list: StepList| list.in_steps(Scale::default()))
    }

    #[test]
    fn steps_may_be_in_words() {
        let scale = Scale::of(&lrs_proto::JobSpec { steps_per_epoch: Some(10), ..Default::default() });
        let list: StepList = "5, 1ep..3ep:1ep, 25..3ep:5".parse().unwrap();
        assert_eq!(list.in_steps(scale), Ok(vec![5, 10, 20, 25, 30]));
        assert!(matches!(list.in_steps(Scale::default()), Err(InvalidSteps::Words(_))));
        assert_eq!(steps("3parsecs"), Err(InvalidSteps::Part("3parsecs".to_owned())));
    }

    #[test]
    fn steps_and_ranges_are_joined_in_order_without_repeats() {
        assert_eq!(steps("0,10,20..23"), Ok(vec![0, 10, 20, 21, 22, 23]));
        assert_eq!(steps("0..100:50"), Ok(vec![0, 50, 100]));
        assert_eq!(steps("0..99:50"), Ok(vec![0, 50]));
        assert_eq!(steps("5, 3..4, 4..5"), Ok(vec![3, 4, 5]));
        assert_eq!(steps(&MAX_STEP.to_string()), Ok(vec![MAX_STEP]));
    }

    #[test]
    fn what_is_no_list_of_steps_says_which_part() {
        assert_eq!(steps("0,ten"), Err(InvalidSteps::Part("ten".to_owned())));
        assert_eq!(steps(""), Err(InvalidSteps::Part(String::new())));
        assert_eq!(steps("-1"), Err(InvalidSteps::Part("-1".to_owned())));
        assert_eq!(steps("9..3"), Err(InvalidSteps::Falling("9..3".to_owned())));
        assert_eq!(steps("0..9:0"), Err(InvalidSteps::Standing("0..9:0".to_owned())));
        assert_eq!(steps("18446744073709551615"), Err(InvalidSteps::TooLarge(u64::MAX)));
    }

    #[test]
    fn an_endless_range_is_refused_without_being_made() {
        assert_eq!(steps("0..9007199254740991"), Err(InvalidSteps::TooMany));
        assert_eq!(steps("0..99999").map(|steps| steps.len()), Ok(MAX_STEPS));
        assert_eq!(steps("0..99999,100000"), Err(InvalidSteps::TooMany));
    }
}
