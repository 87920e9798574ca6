//! Statistics of batches on the CPU and on a GPU: a table, and one line of JSON.
//!
//! `make bench-stats`. Windows have 1024 values; for Theil and Sen, 256. A device has three times: windows that are
//! already in its memory, until the rows of their summaries are back in the host's memory (`resident`); the kernels
//! alone; and windows that are uploaded first (`brought`). The share relates the bytes read per second, each value
//! once, to those of a copy within the device. The CPU gets only as many windows as take about a second; where that is
//! less than the batch, the time is extrapolated and marked with `~`.

use std::{sync::Arc, time::Duration};

use lrs_stats::{
    Backend as _, Wanted, Windows,
    break_even::BreakEven,
    cpu::Cpu,
    cuda::Cuda,
    device::{Device, Failure, Witness},
    record::Layout,
    resident::{Resident, WindowId},
    rings::Ring,
};
use serde_json::{Value, json};
use tokio::time::Instant;

const SIZES: [usize; 4] = [256, 4096, 32_768, 100_000];
const ROUNDS: u16 = 5;
/// The number of windows in a pass from end to end.
const LIVE: usize = 100_000;
/// The bytes of the copy that throughputs are compared with: several times the size of any cache.
const COPY: usize = 2 << 30;

/// For each group: the length of its windows, and the most windows that the CPU gets.
const CASES: [(&str, usize, usize); 4] =
    [("linear", 1024, 100_000), ("order", 1024, 8192), ("mann_kendall", 1024, 8192), ("theil_sen", 256, 1024)];

/// The times of a batch, in milliseconds.
#[derive(Default)]
struct Times {
    cpu: f64,
    is_scaled: bool,
    resident: Option<f64>,
    kernels: Option<f64>,
    brought: Option<f64>,
}

fn main() {
    let mut device = match Cuda::open(0) {
        Ok(device) => Some(device),
        Err(why) => {
            println!("the device is absent: {why}");
            None
        }
    };
    let (copy, break_even) = match device.as_mut().map(ceilings).transpose() {
        Ok(found) => found.unzip(),
        Err(failure) => {
            eprintln!("the device failed: {failure}");
            std::process::exit(1);
        }
    };
    if let (Some(device), Some(copy)) = (&device, copy) {
        println!("on {}, a copy within it {:.0} GB/s", device.name(), copy / 1e9);
    }
    println!(
        "{:>12} {:>8} {:>11} {:>11} {:>11} {:>11} {:>9} {:>6}",
        "statistic", "windows", "cpu ms", "resident ms", "kernels ms", "brought ms", "MB", "share"
    );
    let mut rows = Vec::new();
    for (group, length, most) in CASES {
        let wanted = Wanted::GROUPS.into_iter().find(|(name, _)| *name == group).map(|(_, wanted)| wanted);
        let wanted = wanted.expect("it is one of the groups");
        for size in SIZES {
            match measure(device.as_mut(), wanted, size, length, most) {
                Ok(times) => rows.push(show(group, size, length, &times, copy)),
                Err(failure) => {
                    eprintln!("the device failed: {failure}");
                    std::process::exit(1);
                }
            }
        }
    }
    let pass = device.as_ref().and_then(|_| pass_over_all(Box::new(Cuda::open(0).ok()?)));
    let host = pass_over_all(Box::new(Idle));
    for (pass, of) in [(pass, ""), (host, ", on a device that takes no time")] {
        let Some(pass) = pass else { continue };
        println!("one new value for each of {LIVE} windows of 256, and their linear statistics{of}: {pass:.2} ms");
    }
    let even =
        break_even.map(|even| even.windows_of(256).map(|(group, from)| json!({"statistic": group, "windows": from})));
    let line = json!({
        "bench": "stats", "device": device.as_ref().map(|device| device.name().to_owned()),
        "copy_bytes_a_second": copy, "break_even_of_256": even.map(|even| even.to_vec()), "rows": rows, "pass_ms": pass,
        "pass_ms_of_the_host": host,
    });
    println!("{line}");
}

/// Milliseconds from values in memory to summaries in memory; `None` if not all windows stayed on the device.
fn pass_over_all(device: Box<dyn Device>) -> Option<f64> {
    let mut resident = Resident::new(device, Arc::new(Silent));
    let wanted = Wanted { linear: true, ..Wanted::default() };
    let batch = windows(LIVE, 256);
    let due: Vec<WindowId> = (0..LIVE).map(|_| resident.hold(256)).collect();
    for (i, &window) in due.iter().enumerate() {
        resident.append(window, batch.get(i)?);
    }
    let mut found = Vec::new();
    resident.summarise(&due, wanted, &mut found);
    let pass = || {
        for &window in &due {
            resident.append(window, &[1.0]);
        }
        resident.summarise(&due, wanted, &mut found);
        Ok(())
    };
    let milliseconds = median(pass).ok()?;
    (resident.on_device() == LIVE).then_some(milliseconds)
}

/// A device with unlimited room that answers at once with the rows of constant windows, so that only the host's part
/// takes time.
struct Idle;

impl Device for Idle {
    fn name(&self) -> &'static str {
        "idle"
    }

    fn room(&self) -> u64 {
        1 << 28
    }

    fn write(&mut self, _: &[(u64, f64)]) -> Result<(), Failure> {
        Ok(())
    }

    fn compute(&mut self, rings: &[Ring], wanted: Wanted, rows: &mut Vec<u64>) -> Result<(), Failure> {
        let stride = Layout::new(wanted).stride;
        rows.clear();
        rows.resize(rings.len() * stride, 0);
        for (row, ring) in rows.chunks_exact_mut(stride).zip(rings) {
            row[0] = u64::from(ring.length);
        }
        Ok(())
    }

    fn compute_values(
        &mut self,
        _: &[f64],
        rings: &[Ring],
        wanted: Wanted,
        rows: &mut Vec<u64>,
    ) -> Result<(), Failure> {
        self.compute(rings, wanted, rows)
    }
}

struct Silent;

impl Witness for Silent {
    fn computed(&self, _: &'static str, _: usize) {}

    fn lost(&self, device: &str, failure: &Failure) {
        eprintln!("{device} was lost: {failure}");
    }
}

fn ceilings(device: &mut Cuda) -> Result<(f64, BreakEven), Failure> {
    let begun = Instant::now();
    Ok((device.copy_bandwidth(COPY)?, BreakEven::measure(device, &|| begun.elapsed())?))
}

fn measure(
    device: Option<&mut Cuda>,
    wanted: Wanted,
    size: usize,
    length: usize,
    most: usize,
) -> Result<Times, Failure> {
    let few = windows(size.min(most), length);
    let cpu = median(|| {
        Cpu.summarise(&few, wanted);
        Ok(())
    })? * ratio(size, few.len());
    let mut times = Times { cpu, is_scaled: size > few.len(), ..Times::default() };
    let Some(device) = device else { return Ok(times) };
    let batch = windows(size, length);
    let there: Vec<Ring> = (0..size)
        .map(|i| Ring { base: (i * length) as u64, capacity: small(length), head: 0, length: small(length) })
        .collect();
    let mut rows = Vec::new();
    times.brought = Some(median(|| device.compute_values(batch.values(), &there, wanted, &mut rows))?);
    if batch.values().len() as u64 <= device.room() {
        let writes: Vec<(u64, f64)> =
            batch.values().iter().enumerate().map(|(place, &value)| (place as u64, value)).collect();
        device.write(&writes)?;
        times.resident = Some(median(|| device.compute(&there, wanted, &mut rows))?);
        times.kernels = Some(device.kernel_seconds(&there, wanted, ROUNDS)? * 1e3);
    }
    Ok(times)
}

fn show(group: &str, size: usize, length: usize, times: &Times, copy: Option<f64>) -> Value {
    let wanted =
        Wanted::GROUPS.into_iter().find(|(name, _)| *name == group).map(|(_, wanted)| wanted).unwrap_or_default();
    let bytes = size * (length + Layout::new(wanted).stride) * 8;
    let share = copy.zip(times.kernels).map(|(copy, kernels)| ratio(bytes, 1) / (kernels / 1e3) / copy);
    let optional = |value: Option<f64>| value.map_or_else(|| "-".to_owned(), |value| format!("{value:.3}"));
    let cpu = format!("{}{:.2}", if times.is_scaled { "~" } else { "" }, times.cpu);
    println!(
        "{group:>12} {size:>8} {cpu:>11} {:>11} {:>11} {:>11} {:>9.1} {:>6}",
        optional(times.resident),
        optional(times.kernels),
        optional(times.brought),
        ratio(bytes, 1_000_000),
        optional(share)
    );
    json!({
        "statistic": group, "windows": size, "length": length, "cpu_ms": times.cpu, "cpu_is_scaled": times.is_scaled,
        "resident_ms": times.resident, "kernels_ms": times.kernels, "brought_ms": times.brought, "bytes": bytes,
        "share_of_copy": share,
    })
}

/// The median of a few rounds, in milliseconds.
fn median(mut run: impl FnMut() -> Result<(), Failure>) -> Result<f64, Failure> {
    let mut times = Vec::new();
    for _ in 0..ROUNDS {
        let begun = Instant::now();
        run()?;
        times.push(begun.elapsed());
        // Repeat slow runs less often.
        if times.iter().sum::<Duration>() > Duration::from_secs(3) {
            break;
        }
    }
    times.sort_unstable();
    Ok(times[times.len() / 2].as_secs_f64() * 1e3)
}

/// Losses that fall and scatter; every run gets the same.
fn windows(count: usize, length: usize) -> Windows {
    let mut windows = Windows::with_capacity(count, count * length);
    let mut state = 1_u64;
    for _ in 0..count {
        let window: Vec<f64> = (0..length)
            .map(|i| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
                2.0 - 1e-4 * f64::from(small(i)) + f64::from(u32::try_from(state >> 32).unwrap_or(0)) / 4_294_967_296.0
            })
            .collect();
        windows.push(&window).expect("it is short enough");
    }
    windows
}

fn small(count: usize) -> u32 {
    u32::try_from(count).expect("it is small")
}

#[expect(clippy::cast_precision_loss, reason = "counts far below 2^53")]
fn ratio(a: usize, b: usize) -> f64 {
    a as f64 / b as f64
}
