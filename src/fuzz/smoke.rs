//! Every target with its kept corpus, and with random changes of it for a few seconds.

use std::{
    fs,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};

use super::{TARGETS, Target};

/// For all targets together.
const TIME: Duration = Duration::from_secs(10);
/// The longest that one input may take, in a build without optimization on a busy machine.
const PATIENCE: Duration = Duration::from_secs(5);
/// As the program's own threads.
const STACK_BYTES: usize = 16 << 20;
const LONGEST: usize = 1 << 12;

#[expect(clippy::disallowed_methods, reason = "a test that lasts a while")]
fn now() -> Instant {
    Instant::now()
}

fn corpus(target: &Target) -> Vec<(PathBuf, Vec<u8>)> {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus").join(target.name);
    let entries = fs::read_dir(&directory).unwrap_or_else(|error| panic!("{}: {error}", directory.display()));
    let mut found: Vec<_> =
        entries.map(|entry| entry.unwrap().path()).map(|path| (path.clone(), fs::read(path).unwrap())).collect();
    found.sort();
    assert!(!found.is_empty(), "{} has no corpus", target.name);
    found
}

/// On a stack like the program's, and within bounds.
fn run(target: Target, input: &[u8]) -> thread::Result<()> {
    let begin = now();
    let result = thread::scope(|scope| {
        let work = || (target.run)(input);
        thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work).expect("a thread").join()
    });
    assert!(begin.elapsed() < PATIENCE, "{} takes too long: {:?}", target.name, String::from_utf8_lossy(input));
    result
}

#[test]
fn the_kept_corpus_breaks_no_promise() {
    for target in TARGETS {
        for (path, input) in corpus(target) {
            assert!(run(*target, &input).is_ok(), "{}", path.display());
        }
    }
}

#[test]
fn changes_of_the_kept_corpus_break_no_promise() {
    let seed: u64 = rand::random();
    println!("seed {seed}");
    let mut random = StdRng::seed_from_u64(seed);
    let share = TIME / u32::try_from(TARGETS.len()).unwrap();
    let mut tried = 0_u64;
    for target in TARGETS {
        let corpus: Vec<Vec<u8>> = corpus(target).into_iter().map(|(_, input)| input).collect();
        let begin = now();
        while begin.elapsed() < share {
            // Many on one stack: a thread each would cost more than the work.
            let inputs: Vec<Vec<u8>> = (0..50).map(|_| changed(&mut random, &corpus)).collect();
            let work = || inputs.iter().for_each(|input| (target.run)(input));
            let together = thread::scope(|scope| {
                thread::Builder::new().stack_size(STACK_BYTES).spawn_scoped(scope, work).expect("a thread").join()
            });
            if together.is_err() {
                let culprit = inputs.iter().find(|input| run(*target, input).is_err());
                panic!("{} breaks a promise (seed {seed}) with {culprit:02x?}", target.name);
            }
            tried += 50;
        }
    }
    println!("{tried} inputs");
    assert!(tried > 1000);
}

/// One of `corpus` with a few bytes changed, removed, repeated, or taken from another.
fn changed(random: &mut StdRng, corpus: &[Vec<u8>]) -> Vec<u8> {
    let mut input = corpus.choose(random).cloned().unwrap_or_default();
    for _ in 0..random.random_range(1..6) {
        let at = random.random_range(0..=input.len());
        let end = random.random_range(at..=input.len().min(at + 16));
        match random.random_range(0..7) {
            0 if at < input.len() => input[at] ^= 1 << random.random_range(0..8),
            1 if at < input.len() => input[at] = *b"\0\xff\x7f\x80-019.\"'{}[]:,=%\n".choose(random).unwrap_or(&0),
            2 => drop(input.drain(at..end)),
            3 => {
                let piece = input[at..end].to_vec();
                let _: Vec<u8> = input.splice(at..at, piece).collect();
            }
            4 => {
                let other = corpus.choose(random).map_or(&[][..], Vec::as_slice);
                let from = random.random_range(0..=other.len());
                let to = random.random_range(from..=other.len());
                let _: Vec<u8> = input.splice(at..end, other[from..to].iter().copied()).collect();
            }
            5 => {
                let number =
                    ["0", "-1", "1e308", "9007199254740993", "NaN", "null", "true", "\"\"", "[]", "{}", "1e-320"]
                        .choose(random)
                        .map_or(&[][..], |number| number.as_bytes());
                let _: Vec<u8> = input.splice(at..end, number.iter().copied()).collect();
            }
            _ => {
                let _: Vec<u8> = input.splice(at..at, [random.random(), random.random()]).collect();
            }
        }
    }
    input.truncate(LONGEST);
    input
}
