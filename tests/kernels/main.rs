//! The kernels against the CPU, bit for bit: their own source built for the host; their PTX, on a stand-in for the
//! driver; and where there is a device, there too.

mod cpp;
mod device;
mod host;
mod stale;
#[cfg(feature = "cuda")]
mod stand_in;
mod windows;

use host::{Batch, ORDERS, run};
use lrs_stats::{Backend as _, MAX_WINDOW, Summary, Wanted, Windows, cpu::Cpu, record::Layout, rings::Ring};

/// Debug text shows every digit, the sign of a zero, and any NaN alike.
fn text(summary: &Summary) -> String {
    format!("{summary:?}")
}

fn on_the_cpu(windows: &[Vec<f64>], wanted: Wanted) -> Vec<Summary> {
    let mut batch = Windows::default();
    for window in windows {
        batch.push(window).expect("it is short enough");
    }
    Cpu.summarise(&batch, wanted)
}

/// Each window in a ring that is as large or larger and turned by some places; around the rings lies what must not be
/// read.
fn turned(windows: &[Vec<f64>]) -> Batch {
    let mut batch = Batch { pool: vec![f64::NAN; 3], ..Batch::default() };
    for (i, window) in windows.iter().enumerate() {
        let capacity = (window.len() + i % 5).clamp(1, MAX_WINDOW);
        let head = i * 7 % capacity;
        let base = batch.pool.len();
        batch.pool.extend(vec![7e300; capacity]);
        for (place, &value) in window.iter().enumerate() {
            batch.pool[base + (head + place) % capacity] = value;
        }
        batch.pool.push(f64::NEG_INFINITY);
        let count = |n: usize| u32::try_from(n).expect("it is small");
        batch.rings.push(Ring {
            base: base as u64,
            capacity: count(capacity),
            head: count(head),
            length: count(window.len()),
        });
    }
    batch
}

#[track_caller]
fn the_same(windows: &[Vec<f64>], wanted: Wanted, orders: &[u64], of: &str) {
    let expected = on_the_cpu(windows, wanted);
    let layout = Layout::new(wanted);
    for &order in orders {
        let (rows, _) = run(&turned(windows), wanted, order);
        for ((row, expected), window) in rows.chunks_exact(layout.stride).zip(&expected).zip(windows) {
            let found = layout.read(row, window.len()).expect("the row is one of its window");
            assert_eq!(text(&found), text(expected), "{of}, threads in order {order}, window {window:?}");
        }
    }
}

#[test]
fn random_windows_have_the_same_bits_in_any_order_of_threads() {
    let fresh: u64 = rand::random();
    for seed in [1, 2, fresh] {
        the_same(&windows::windows(seed, 120, 200), Wanted::ALL, &ORDERS, &format!("seed {seed}"));
    }
}

#[test]
fn long_windows_have_the_same_bits() {
    let fresh: u64 = rand::random();
    the_same(&windows::windows(fresh, 10, MAX_WINDOW), Wanted::ALL, &ORDERS[1..2], &format!("seed {fresh}"));
}

#[test]
fn every_length_at_which_something_changes_has_the_same_bits() {
    let lengths = [0, 1, 2, 3, 4, 15, 16, 17, 31, 32, 33, 64, 127, 128, 129, 255, 256, 257, 1023, 1024];
    let loss = |length: u32| {
        (0..length).map(|i| 2.0 + f64::from((i * 7919) % 1009) / 1009.0 - f64::from(i) / 4096.0).collect::<Vec<f64>>()
    };
    the_same(&lengths.map(loss), Wanted::ALL, &ORDERS, "lengths");
}

#[test]
fn windows_with_more_tied_slopes_than_fit_have_the_same_bits() {
    let windows = [
        vec![0.25; 600],
        (0..600).map(|i| f64::from(i) * 0.5).collect(),
        (0..600).map(|i| f64::from(i / 100)).collect(),
        (0..600).map(|i| if i % 2 == 0 { 0.0 } else { -0.0 }).collect(),
        (0..600).map(|i| f64::from(i % 3) * 1e-310).collect(),
    ];
    the_same(&windows, Wanted::ALL, &ORDERS, "ties");
}

#[test]
fn each_group_alone_has_the_same_bits() {
    let none = Wanted::default();
    let groups = [
        Wanted { linear: true, ..none },
        Wanted { order: true, ..none },
        Wanted { mann_kendall: true, ..none },
        Wanted { theil_sen: true, ..none },
        Wanted { order: true, theil_sen: true, ..none },
    ];
    for wanted in groups {
        the_same(&windows::windows(5, 40, 100), wanted, &ORDERS[..1], &format!("{wanted:?}"));
    }
}

#[test]
fn values_are_appended_to_their_places_and_nowhere_else() {
    let batch = Batch {
        pool: (0..1000).map(f64::from).collect(),
        appended: (0..300u32).map(|i| (u64::from(i) * 3, -1.0 - f64::from(i))).collect(),
        ..Batch::default()
    };
    let mut expected = batch.pool.clone();
    for &(place, value) in &batch.appended {
        expected[usize::try_from(place).unwrap()] = value;
    }
    for order in ORDERS {
        assert_eq!(run(&batch, Wanted::default(), order).1, expected);
    }
}
