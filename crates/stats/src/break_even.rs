//! The batch size from which a device is faster than the CPU, for each group of statistics; measured once, at the
//! start.

use std::time::Duration;

use super::{
    Backend, Wanted, Windows,
    cpu::Cpu,
    device::{Device, Failure},
};

/// How many windows each of the two measured batches has, and how long a window is.
const SIZES: [usize; 2] = [16, 512];
const LENGTH: usize = 256;

/// For each group, the least `work` with which a batch goes to the device; `None`: no batch does.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct BreakEven([Option<f64>; 4]);

impl BreakEven {
    /// Every batch goes to the device, as in tests and benches.
    pub const NEVER_CPU: Self = Self([Some(0.0); 4]);

    /// Measures device and CPU on batches of 16 and of 512 windows of 256 values, by the clock `now`: well under a
    /// second.
    ///
    /// The two sizes give each of them a fixed cost and a cost per work, and so the work at which the two lines cross.
    ///
    /// # Errors
    /// If the device fails.
    pub fn measure(device: &mut dyn Device, now: &dyn Fn() -> Duration) -> Result<Self, Failure> {
        Self::measure_on(SIZES, device, now)
    }

    fn measure_on(sizes: [usize; 2], device: &mut dyn Device, now: &dyn Fn() -> Duration) -> Result<Self, Failure> {
        let batches = sizes.map(batch);
        let mut least = [None; 4];
        for (least, (_, wanted)) in least.iter_mut().zip(Wanted::GROUPS) {
            let (mut cpu, mut gpu) = ([0.0; 2], [0.0; 2]);
            for (i, batch) in batches.iter().enumerate() {
                cpu[i] = seconds(now, || drop(Cpu.summarise(batch, wanted)));
                super::batch::on(device, batch, wanted)?; // the first time takes longer
                let begun = now();
                super::batch::on(device, batch, wanted)?;
                gpu[i] = now().saturating_sub(begun).as_secs_f64();
            }
            let works = [work(&batches[0], wanted), work(&batches[1], wanted)];
            *least = crossing(works, cpu, gpu);
        }
        Ok(Self(least))
    }

    /// The groups of `wanted` for which this batch is large enough.
    #[must_use]
    pub fn on_device(&self, windows: &Windows, wanted: Wanted) -> Wanted {
        let mut chosen = Wanted::default();
        for (least, (_, group)) in self.0.iter().zip(Wanted::GROUPS) {
            let pays = !wanted.and(group).is_empty() && least.is_some_and(|least| work(windows, group) >= least);
            if pays {
                chosen = Wanted {
                    linear: chosen.linear || group.linear,
                    order: chosen.order || group.order,
                    mann_kendall: chosen.mann_kendall || group.mann_kendall,
                    theil_sen: chosen.theil_sen || group.theil_sen,
                };
            }
        }
        chosen
    }

    /// For each group, the number of windows of `length` values from which the device is used; for logs.
    #[must_use]
    pub fn windows_of(&self, length: usize) -> [(&'static str, Option<f64>); 4] {
        let mut shown = Wanted::GROUPS.map(|(name, _)| (name, None));
        for ((shown, least), (_, group)) in shown.iter_mut().zip(self.0).zip(Wanted::GROUPS) {
            shown.1 = least.map(|least| (least / work_of(length, group)).ceil());
        }
        shown
    }
}

/// The measure of a group's cost: the number of values, or of pairs for Theil and Sen.
fn work(windows: &Windows, group: Wanted) -> f64 {
    (0..windows.len()).filter_map(|i| windows.range(i)).map(|range| work_of(range.len(), group)).sum()
}

fn work_of(length: usize, group: Wanted) -> f64 {
    let length = super::number(length);
    if group.theil_sen { length * length } else { length }
}

/// The work above which the line through the device's times lies below the CPU's.
fn crossing(works: [f64; 2], cpu: [f64; 2], gpu: [f64; 2]) -> Option<f64> {
    let more = works[1] - works[0];
    let slope = |times: [f64; 2]| ((times[1] - times[0]) / more).max(0.0);
    let (cpu_slope, gpu_slope) = (slope(cpu), slope(gpu));
    let fixed = (gpu[0] - gpu_slope * works[0]) - (cpu[0] - cpu_slope * works[0]);
    let gain = cpu_slope - gpu_slope;
    if gain > 0.0 {
        Some((fixed / gain).max(0.0))
    } else {
        // The device gains less with larger batches, so it always pays if it still pays at the larger one.
        (gpu[1] < cpu[1]).then_some(0.0)
    }
}

fn seconds(now: &dyn Fn() -> Duration, run: impl FnOnce()) -> f64 {
    let begun = now();
    run();
    now().saturating_sub(begun).as_secs_f64()
}

/// Windows of values that fall and scatter.
fn batch(count: usize) -> Windows {
    let mut windows = Windows::with_capacity(count, count * LENGTH);
    for job in 0..count {
        let value = |i: usize| 2.0 + super::number((job + i) * 7919 % 1009) / 1009.0 - super::number(i) / 4096.0;
        let window: Vec<f64> = (0..LENGTH).map(value).collect();
        // The window is short enough.
        let _ = windows.push(&window);
    }
    windows
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::device::fake::Fake;

    #[test]
    fn the_device_pays_from_where_the_lines_cross() {
        // 10 + w / 10 against w: at w = 100 / 9.
        let found = crossing([1.0, 101.0], [1.0, 101.0], [10.1, 20.1]).unwrap();
        assert!((found - 100.0 / 9.0).abs() < 1e-9, "{found}");
        assert_eq!(crossing([1.0, 101.0], [1.0, 11.0], [10.0, 110.0]), None, "slower from the first to the last");
        assert_eq!(crossing([1.0, 101.0], [5.0, 105.0], [1.0, 2.0]), Some(0.0), "faster from the first to the last");
        assert_eq!(crossing([1.0, 101.0], [1.0, 11.0], [0.5, 110.0]), None, "faster for the smaller one alone");
        assert_eq!(crossing([1.0, 101.0], [9.0, 109.0], [1.0, 102.0]), Some(0.0), "slower by work, faster for both");
    }

    #[test]
    fn only_groups_that_are_wanted_and_large_enough_go_to_the_device() {
        let even = BreakEven([Some(0.0), None, Some(1e9), Some(1.0)]);
        let found = even.on_device(&batch(4), Wanted { linear: false, ..Wanted::ALL });
        assert_eq!(found, Wanted { theil_sen: true, ..Wanted::default() });
        assert_eq!(even.windows_of(1000)[2], ("mann_kendall", Some(1e6)));
    }

    #[test]
    fn a_device_that_fails_while_it_is_measured_says_so() {
        for calls in [0, 3, 15] {
            assert!(BreakEven::measure_on([1, 2], &mut Fake::new(0, calls), &|| Duration::ZERO).is_err());
        }
        assert!(BreakEven::measure_on([1, 2], &mut Fake::new(0, 16), &|| Duration::ZERO).is_ok());
    }
}
