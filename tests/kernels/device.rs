//! The kernels on a device against the CPU. Without a device, the tests say so. `stand_in` runs these tests, too.

use std::sync::{Arc, Mutex};

use lrs_stats::{
    Backend as _, MAX_WINDOW, Wanted, Windows,
    accelerated::Accelerated,
    break_even::BreakEven,
    cuda::Cuda,
    device::{Device as _, Failure, ON_DEVICE, Witness},
    record::Layout,
    resident::{Resident, WindowId},
    rings::Ring,
};

use crate::{on_the_cpu, text, windows};

/// The first device, or `None` with the reason in the test's output.
fn device() -> Option<Cuda> {
    match Cuda::open(0) {
        Ok(device) => {
            println!("on {}", device.name());
            Some(device)
        }
        Err(why) => {
            println!("SKIPPED, nothing was checked on a device: {why}");
            None
        }
    }
}

/// `many` on a GPU, and few on the stand-in, which is slow.
fn some(many: usize, device: &Cuda) -> usize {
    if device.name().contains("stand-in") { many / 20 } else { many }
}

fn batch(windows: &[Vec<f64>]) -> Windows {
    let mut batch = Windows::default();
    for window in windows {
        batch.push(window).unwrap();
    }
    batch
}

#[test]
fn batches_on_a_device_have_the_bits_of_the_cpu() {
    let Some(mut device) = device() else { return };
    for round in 0..some(20, &device) {
        let seed: u64 = rand::random();
        let windows = windows::windows(seed, some(400, &device), if round % 4 == 0 { MAX_WINDOW } else { 200 });
        let batch = batch(&windows);
        let rings: Vec<Ring> = (0..batch.len())
            .map(|i| batch.range(i).unwrap())
            .map(|range| {
                let length = u32::try_from(range.len()).unwrap();
                Ring { base: range.start as u64, capacity: length, head: 0, length }
            })
            .collect();
        let layout = Layout::new(Wanted::ALL);
        let mut rows = Vec::new();
        device.compute_values(batch.values(), &rings, Wanted::ALL, &mut rows).unwrap();
        let expected = on_the_cpu(&windows, Wanted::ALL);
        assert_eq!(rows.len(), windows.len() * layout.stride);
        for ((row, expected), window) in rows.chunks_exact(layout.stride).zip(&expected).zip(&windows) {
            let found = layout.read(row, window.len()).expect("the row is one of its window");
            assert_eq!(text(&found), text(expected), "seed {seed}, window {window:?}");
        }
    }
}

#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Witness for Told {
    fn computed(&self, on: &'static str, _: usize) {
        self.0.lock().unwrap().push(on.to_owned());
    }

    fn lost(&self, device: &str, failure: &Failure) {
        println!("{device} was lost: {failure}");
        self.0.lock().unwrap().push(format!("{device} was lost"));
    }
}

#[test]
fn windows_that_stay_on_a_device_and_grow_there_have_the_bits_of_the_cpu() {
    let Some(device) = device() else { return };
    let count = some(300, &device);
    let told = Arc::new(Told::default());
    let witness: Arc<dyn Witness> = told.clone();
    let mut resident = Resident::new(Box::new(device), witness);
    let seed: u64 = rand::random();
    let mut expected = vec![Vec::new(); count];
    let held: Vec<WindowId> = (0..count).map(|_| resident.hold(256)).collect();
    let mut found = Vec::new();
    for pass in 0..8 {
        for ((&id, expected), values) in held.iter().zip(&mut expected).zip(windows::windows(seed ^ pass, count, 90)) {
            resident.append(id, &values);
            expected.extend(values);
            expected.drain(..expected.len().saturating_sub(256));
        }
        resident.summarise(&held, Wanted::ALL, &mut found);
        for ((found, expected), window) in found.iter().zip(on_the_cpu(&expected, Wanted::ALL)).zip(&expected) {
            assert_eq!(text(&found.unwrap()), text(&expected), "seed {seed}, pass {pass}, window {window:?}");
        }
    }
    let told = told.0.lock().unwrap();
    assert!(told.iter().all(|told| told == ON_DEVICE), "{told:?}");
}

#[test]
fn a_device_that_may_be_lost_changes_no_bits() {
    let told = Arc::new(Told::default());
    let wanted = Wanted { theil_sen: false, ..Wanted::ALL };
    let seed: u64 = rand::random();
    let windows = windows::windows(seed, 3, 24);
    let expected: Vec<String> = on_the_cpu(&windows, wanted).iter().map(text).collect();
    let Some(device) = device() else { return };
    let mut resident = Resident::new(Box::new(device), Arc::<Told>::clone(&told) as Arc<dyn Witness>);
    let held: Vec<WindowId> = windows.iter().map(|_| resident.hold(32)).collect();
    let mut found = Vec::new();
    for (&id, window) in held.iter().zip(&windows) {
        for part in window.chunks(10) {
            resident.append(id, part);
            resident.summarise(&held[..1], Wanted::default(), &mut found);
        }
    }
    resident.summarise(&held, wanted, &mut found);
    assert_eq!(found.iter().map(|found| text(&found.unwrap())).collect::<Vec<_>>(), expected, "seed {seed}");
    drop(resident);

    let Some(device) = self::device() else { return };
    let backend =
        Accelerated::new(Box::new(device), BreakEven::NEVER_CPU, Arc::<Told>::clone(&told) as Arc<dyn Witness>);
    for _ in 0..2 {
        let found = backend.summarise(&batch(&windows), wanted);
        assert_eq!(found.iter().map(text).collect::<Vec<_>>(), expected, "seed {seed}");
    }
}
