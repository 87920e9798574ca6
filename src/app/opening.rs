//! Opens the database, and waits for one that is away as long as waiting can help.

use std::{sync::Arc, time::Duration};

use tokio::time::{Instant, sleep, timeout_at};

use lrs_runtime::error::chain;
use lrs_store::{DatabaseUrl, Error, Store};

/// The pause between the first two tries. It doubles up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(100);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// The time between the first two lines of the log about one reason. It doubles up to the longest.
const FIRST_SILENCE: Duration = Duration::from_secs(5);
const LONGEST_SILENCE: Duration = Duration::from_mins(10);

/// Opens the database. While it is away, or another server has it open that this one can follow, tries again, for at
/// most `wait` if that is set; `tell` hears why after each try. What waiting cannot mend is an error at once: a wrong
/// password, no such database, a missing right, a newer schema, another server on the same file. Cancel safe.
///
/// # Errors
/// Of the last try.
pub(super) async fn open(
    url: &DatabaseUrl,
    wait: Option<Duration>,
    mut tell: impl FnMut(String),
) -> Result<Arc<dyn Store>, Error> {
    let begun = Instant::now();
    let deadline = wait.map(|wait| begun + wait);
    let (mut pause, mut diary) = (FIRST_PAUSE, Diary::new(begun));
    loop {
        let failure = match url.open().await {
            Ok(store) => {
                if diary.is_begun() {
                    tracing::info!("The database is there, after {:.0?}", begun.elapsed());
                }
                return Ok(store);
            }
            Err(failure) => failure,
        };
        let is_taken = matches!(failure, Error::Taken { .. }) && url.kind().waits_for_owner;
        let is_over = deadline.is_some_and(|deadline| Instant::now() >= deadline);
        if is_over || !(failure.is_transient() || is_taken) {
            return Err(failure);
        }
        let why = chain(&failure);
        if diary.is_due(&why, Instant::now()) {
            tracing::warn!(database = %url, "Waiting for the database, for {:.0?} so far: {why}", begun.elapsed());
        }
        tell(format!("waiting for the database: {why}"));
        if is_taken {
            // The try has waited for the other server already, and one that waits takes over at once.
            pause = FIRST_PAUSE;
        }
        // The last try is at the deadline.
        match deadline {
            Some(deadline) => drop(timeout_at(deadline, sleep(pause)).await),
            None => sleep(pause).await,
        }
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Which of many tries get a line in the log: the first, those with a new reason, and of the same reason fewer and
/// fewer.
struct Diary {
    reason: String,
    next: Instant,
    silence: Duration,
}

impl Diary {
    fn new(now: Instant) -> Self {
        Self { reason: String::new(), next: now, silence: FIRST_SILENCE }
    }

    fn is_begun(&self) -> bool {
        !self.reason.is_empty()
    }

    fn is_due(&mut self, reason: &str, now: Instant) -> bool {
        if self.reason != reason {
            *self = Self { reason: reason.to_owned(), next: now, silence: FIRST_SILENCE };
        }
        if now < self.next {
            return false;
        }
        self.next = now + self.silence;
        self.silence = (self.silence * 2).min(LONGEST_SILENCE);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_reason_is_logged_at_growing_intervals_and_a_new_one_at_once() {
        let begun = Instant::now();
        let mut diary = Diary::new(begun);
        let mut logged = Vec::new();
        for second in 0..100 {
            let reason = if second == 50 { "another" } else { "refused" };
            if diary.is_due(reason, begun + Duration::from_secs(second)) {
                logged.push(second);
            }
        }
        assert_eq!(logged, [0, 5, 15, 35, 50, 51, 56, 66, 86]);
    }

    #[tokio::test]
    async fn a_database_that_stays_away_is_an_error_when_the_wait_is_over() {
        let url: DatabaseUrl = "postgres://lrs@localhost/lrs?host=/nonexistent".parse().unwrap();
        for (wait, most_tries) in [(Duration::ZERO, 0), (Duration::from_millis(250), 4)] {
            let mut told = 0;
            let failure = open(&url, Some(wait), |_| told += 1).await.err().unwrap();
            assert!(
                failure.is_transient() && told <= most_tries && (told > 0) == (most_tries > 0),
                "{told}: {failure}"
            );
        }
    }
}
