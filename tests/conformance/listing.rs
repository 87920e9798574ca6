//! Listings, against a filter that anyone can check by reading.

use std::{cmp::Ordering, collections::BTreeMap};

use lrs_model::{
    filter::{Comparison, Condition, JobCursor, JobOrder, JobQuery, OrderKey},
    job::{JobRow, State, Timestamp},
    spec::Arm,
};
use lrs_store::Store;

use super::{
    builders::{Random, create, done, job},
    database::TestDatabase,
};

const COMPARISONS: [Comparison; 6] = [
    Comparison::Equal,
    Comparison::NotEqual,
    Comparison::Less,
    Comparison::LessOrEqual,
    Comparison::Greater,
    Comparison::GreaterOrEqual,
];
const WORDS: [&str; 5] = ["", "a", "B", "é", "a b"];
const ARMS: [Option<Arm>; 3] = [None, Some(Arm::Scheduled), Some(Arm::Baseline)];

pub fn query(conditions: Vec<Condition>) -> JobQuery {
    let order = JobOrder { key: OrderKey::Name, descending: false };
    JobQuery { namespace: None, conditions, order, after: None, limit: 1000 }
}

async fn names(store: &dyn Store, query: &JobQuery) -> Vec<String> {
    store.list_jobs(query).await.unwrap().iter().map(|job| job.row.name.to_string()).collect()
}

fn random_job(random: &mut Random, number: u64) -> JobRow {
    let mut job = job("x");
    let namespace = random.one_of(&["a", "B", "a-b", "é"]);
    job.name =
        format!("namespaces/{namespace}/jobs/{}{number}", random.one_of(&["a", "B", "a.b", "é"])).parse().unwrap();
    job.state = *random.one_of(&State::ALL);
    job.spec.display_name = (*random.one_of(&WORDS)).into();
    job.spec.experiment = (*random.one_of(&WORDS)).into();
    job.spec.arm = *random.one_of(&ARMS);
    for key in ["team", "größe"] {
        if random.below(2) == 0 {
            job.spec.labels.insert(key.into(), (*random.one_of(&WORDS)).into());
        }
    }
    job.create_time = random_time(random);
    job.update_time = random_time(random);
    job
}

fn random_time(random: &mut Random) -> Timestamp {
    Timestamp(*random.one_of(&[-5, 0, 1, 2, 3, i64::MAX]))
}

fn random_condition(random: &mut Random) -> Condition {
    let comparison = *random.one_of(&COMPARISONS);
    let word = (*random.one_of(&WORDS)).to_owned();
    match random.below(8) {
        0 => Condition::State(comparison, *random.one_of(&State::ALL)),
        1 => Condition::Experiment(comparison, word),
        2 => Condition::Arm(comparison, *random.one_of(&ARMS)),
        3 => Condition::DisplayName(comparison, word),
        4 => Condition::Label((*random.one_of(&["team", "größe", "none"])).into(), comparison, word),
        5 => Condition::CreateTime(comparison, random_time(random)),
        6 => Condition::ActiveTime(comparison, random_time(random)),
        _ => Condition::UpdateTime(comparison, random_time(random)),
    }
}

fn compares<T: Ord + ?Sized>(left: &T, comparison: Comparison, right: &T) -> bool {
    match comparison {
        Comparison::Equal => left == right,
        Comparison::NotEqual => left != right,
        Comparison::Less => left < right,
        Comparison::LessOrEqual => left <= right,
        Comparison::Greater => left > right,
        Comparison::GreaterOrEqual => left >= right,
    }
}

fn arm_word(arm: Option<Arm>) -> &'static str {
    match arm {
        None => "",
        Some(Arm::Baseline) => "baseline",
        Some(Arm::Scheduled) => "scheduled",
    }
}

fn holds(job: &JobRow, condition: &Condition) -> bool {
    match condition {
        Condition::State(comparison, state) => compares(job.state.as_str(), *comparison, state.as_str()),
        Condition::Experiment(comparison, text) => compares(&job.spec.experiment, *comparison, text),
        Condition::Arm(comparison, arm) => compares(arm_word(job.spec.arm), *comparison, arm_word(*arm)),
        Condition::DisplayName(comparison, text) => compares(&job.spec.display_name, *comparison, text),
        Condition::Label(key, comparison, text) => match job.spec.labels.get(key) {
            Some(value) => compares(value, *comparison, text),
            None => *comparison == Comparison::NotEqual,
        },
        Condition::CreateTime(comparison, time) => compares(&job.create_time, *comparison, time),
        // Nothing has happened since their creation.
        Condition::ActiveTime(comparison, time) | Condition::UpdateTime(comparison, time) => {
            compares(&job.update_time, *comparison, time)
        }
    }
}

fn order(left: &JobRow, right: &JobRow, order: JobOrder) -> Ordering {
    let by_key = match order.key {
        OrderKey::Name => left.name.as_str().cmp(right.name.as_str()),
        OrderKey::CreateTime => left.create_time.cmp(&right.create_time),
        OrderKey::UpdateTime => left.update_time.cmp(&right.update_time),
    };
    let ordering = by_key.then(left.id.cmp(&right.id));
    if order.descending { ordering.reverse() } else { ordering }
}

fn cursor(job: &JobRow, key: OrderKey) -> JobCursor {
    match key {
        OrderKey::Name => JobCursor::Name(job.name.to_string(), job.id),
        OrderKey::CreateTime => JobCursor::Time(job.create_time, job.id),
        OrderKey::UpdateTime => JobCursor::Time(job.update_time, job.id),
    }
}

pub async fn listings_agree_with_a_naive_filter(database: &TestDatabase) {
    let store = database.open().await;
    let mut random = Random::new();
    let mut jobs: Vec<_> = (0..60).map(|number| random_job(&mut random, number)).collect();
    done(&*store, &jobs.iter().map(create).collect::<Vec<_>>()).await;

    for _ in 0..200 {
        let key = *random.one_of(&[OrderKey::Name, OrderKey::CreateTime, OrderKey::UpdateTime]);
        let mut query = query((0..random.below(3)).map(|_| random_condition(&mut random)).collect());
        query.order = JobOrder { key, descending: random.below(2) == 0 };
        query.limit = 1 + u32::try_from(random.below(30)).unwrap();
        if random.below(3) == 0 {
            query.namespace = Some((*random.one_of(&["a", "B", "a-b", "é", "none"])).into());
        }
        jobs.sort_by(|left, right| order(left, right, query.order));
        let expected: Vec<_> = jobs
            .iter()
            .filter(|job| query.namespace.as_ref().is_none_or(|namespace| namespace == job.name.namespace()))
            .filter(|job| query.conditions.iter().all(|condition| holds(job, condition)))
            .cloned()
            .collect();

        let mut listed = Vec::new();
        loop {
            let page = store.list_jobs(&query).await.unwrap();
            assert!(page.len() <= query.limit as usize);
            let Some(last) = page.last() else { break };
            query.after = Some(cursor(&last.row, key));
            listed.extend(page.into_iter().map(|job| job.row));
            assert!(listed.len() <= expected.len(), "{query:?} comes to no end");
        }
        assert_eq!(listed, expected, "{query:?}");
    }
}

pub async fn pages_of_equal_keys_lose_nothing(database: &TestDatabase) {
    let store = database.open().await;
    let jobs: Vec<_> = (0..7).map(|number| job(&format!("job-{number}"))).collect();
    done(&*store, &jobs.iter().map(create).collect::<Vec<_>>()).await;
    for descending in [false, true] {
        let mut query = query(Vec::new());
        query.order = JobOrder { key: OrderKey::CreateTime, descending };
        query.limit = 2;
        let mut listed = Vec::new();
        while let [.., last] = &store.list_jobs(&query).await.unwrap()[..] {
            query.after = Some(cursor(&last.row, OrderKey::CreateTime));
            listed.push(last.row.id);
            assert!(listed.len() <= jobs.len(), "the pages come to no end");
        }
        assert_eq!(listed.len(), 4);
        assert!(listed.is_sorted_by(|a, b| if descending { a > b } else { a < b }));
    }
}

pub async fn labels_with_odd_keys_are_found(database: &TestDatabase) {
    let store = database.open().await;
    let keys = ["a.b", "\"quoted\"", "back\\slash", "$[0]", "größe 🦀", "", "'", "tab\t"];
    for (number, key) in keys.into_iter().enumerate() {
        let mut job = job(&format!("job-{number}"));
        job.spec.labels = BTreeMap::from([(key.to_owned(), key.to_owned()), ("other".to_owned(), "x".to_owned())]);
        done(&*store, &[create(&job)]).await;
    }
    for (number, key) in keys.into_iter().enumerate() {
        let condition = Condition::Label(key.to_owned(), Comparison::Equal, key.to_owned());
        let found = names(&*store, &query(vec![condition])).await;
        assert_eq!(found, [format!("namespaces/tests/jobs/job-{number}")], "{key:?}");
    }
}

pub async fn a_label_that_is_not_there_is_equal_to_nothing(database: &TestDatabase) {
    let store = database.open().await;
    let (without, mut with) = (job("without"), job("with"));
    with.spec.labels.insert("team".into(), "vision".into());
    done(&*store, &[create(&without), create(&with)]).await;
    let having = |comparison, value: &str| query(vec![Condition::Label("team".into(), comparison, value.into())]);

    assert_eq!(names(&*store, &having(Comparison::NotEqual, "vision")).await, [without.name.as_str()]);
    assert_eq!(names(&*store, &having(Comparison::Equal, "vision")).await, [with.name.as_str()]);
    assert!(names(&*store, &having(Comparison::Equal, "")).await.is_empty());
    assert_eq!(names(&*store, &having(Comparison::NotEqual, "")).await.len(), 2);
}
