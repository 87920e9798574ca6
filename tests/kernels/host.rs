//! The kernels' own source, compiled for this machine's processor: a device for tests.

use std::{
    io::Write as _,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
};

use lrs_stats::{Wanted, record::Layout, rings::Ring};

use crate::cpp;

/// Orders in which the threads of a block run; see `host_order` in machine.h.
pub const ORDERS: [u64; 3] = [0, 1, 2];

/// A batch as the kernels get it.
#[derive(Clone, Debug, Default)]
pub struct Batch {
    pub pool: Vec<f64>,
    pub rings: Vec<Ring>,
    pub appended: Vec<(u64, f64)>,
}

/// The rows, and the pool after the batch.
pub fn run(batch: &Batch, wanted: Wanted, order: u64) -> (Vec<u64>, Vec<f64>) {
    let layout = Layout::new(wanted);
    let offset = |group: Option<usize>| group.unwrap_or(0) as u64;
    let mut input: Vec<u64> = vec![
        order,
        batch.pool.len() as u64,
        batch.rings.len() as u64,
        layout.stride as u64,
        offset(layout.linear),
        offset(layout.order),
        offset(layout.mann_kendall),
        offset(layout.theil_sen),
        batch.appended.len() as u64,
    ];
    input.extend(batch.pool.iter().map(|value| value.to_bits()));
    input.extend(
        batch.rings.iter().flat_map(|ring| {
            [ring.base, u64::from(ring.capacity) | u64::from(ring.head) << 32, u64::from(ring.length)]
        }),
    );
    input.extend(batch.appended.iter().map(|(_, value)| value.to_bits()));
    input.extend(batch.appended.iter().map(|(place, _)| place));
    let bytes: Vec<u8> = input.iter().flat_map(|word| word.to_ne_bytes()).collect();

    let mut process =
        Command::new(program()).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("it was built just now");
    let mut stdin = process.stdin.take().expect("it is piped");
    let writer = std::thread::spawn(move || stdin.write_all(&bytes));
    let output = process.wait_with_output().expect("it can be waited for");
    writer.join().expect("writing does not panic").expect("the kernels take their input");
    assert!(output.status.success(), "the kernels ended with {}", output.status);
    let (words, []) = output.stdout.as_chunks::<8>() else { panic!("half a word") };
    let mut rows: Vec<u64> = words.iter().map(|word| u64::from_ne_bytes(*word)).collect();
    let pool = rows.split_off(layout.stride * batch.rings.len());
    (rows, pool.into_iter().map(f64::from_bits).collect())
}

/// Compiled once a test process.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| cpp::build("host.cpp", "kernels", &[]))
}
