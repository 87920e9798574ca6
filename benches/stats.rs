//! Batch statistics on the CPU: the time of a pass over the windows of 4096 jobs, beside a plain copy of the same
//! windows.
//!
//! `cargo bench --bench stats`. Throughput is in bytes of windows per second, for comparison with the copy.

use divan::{Bencher, black_box, counter::BytesCount};
use lrs_stats::{Backend, Wanted, Windows, cpu::Cpu};

fn main() {
    divan::main();
}

const JOBS: usize = 4096;
const WINDOWS: [usize; 3] = [64, 256, 1024];

/// Losses that fall and scatter; every run gets the same.
fn windows(length: usize) -> Windows {
    let mut windows = Windows::with_capacity(JOBS, JOBS * length);
    let mut state = 1_u64;
    for _ in 0..JOBS {
        let window: Vec<f64> = (0..length)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                let noise = f64::from(u32::try_from(state >> 32).unwrap_or(0)) / 4_294_967_296.0;
                2.0 - 1e-4 * f64::from(u32::try_from(i).unwrap_or(0)) + noise
            })
            .collect();
        windows.push(&window).expect("it is short enough");
    }
    windows
}

fn pass(bencher: Bencher<'_, '_>, length: usize, wanted: Wanted) {
    let windows = windows(length);
    bencher.counter(BytesCount::of_slice(windows.values())).bench_local(|| Cpu.summarise(black_box(&windows), wanted));
}

#[divan::bench(args = WINDOWS)]
fn copy(bencher: Bencher<'_, '_>, length: usize) {
    let windows = windows(length);
    let mut target = vec![0.0; windows.values().len()];
    bencher.counter(BytesCount::of_slice(windows.values())).bench_local(|| {
        target.copy_from_slice(black_box(windows.values()));
        black_box(&mut target);
    });
}

#[divan::bench(args = WINDOWS)]
fn linear(bencher: Bencher<'_, '_>, length: usize) {
    pass(bencher, length, Wanted { linear: true, ..Wanted::default() });
}

#[divan::bench(args = WINDOWS)]
fn order(bencher: Bencher<'_, '_>, length: usize) {
    pass(bencher, length, Wanted { order: true, ..Wanted::default() });
}

#[divan::bench(args = WINDOWS)]
fn mann_kendall(bencher: Bencher<'_, '_>, length: usize) {
    pass(bencher, length, Wanted { mann_kendall: true, ..Wanted::default() });
}

#[divan::bench(args = [64, 256], sample_count = 5)]
fn theil_sen(bencher: Bencher<'_, '_>, length: usize) {
    pass(bencher, length, Wanted { theil_sen: true, ..Wanted::default() });
}
