//! The interface of a device: thin, so that everything else is tested without a device.

use super::{Wanted, rings::Ring};

/// A call of the device failed. The device is not used again, because its memory and its work may be lost.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{call}: {problem}")]
pub struct Failure {
    /// The call that failed.
    pub call: &'static str,
    /// The driver's message.
    pub problem: String,
}

/// Why there is no device.
#[derive(Debug, thiserror::Error)]
pub enum Absent {
    /// The program was built without the feature `cuda`.
    #[error("this build of lrs has no GPU support: build it with the cargo feature `cuda`, which is on by default")]
    NotBuilt,
    /// No driver is installed.
    #[error("no NVIDIA driver is installed here (libcuda)")]
    NoDriver,
    /// The driver has no device with this number.
    #[error("there is no device cuda:{ordinal}: the driver has {count}")]
    NoDevice {
        /// The number asked for.
        ordinal: usize,
        /// How many devices the driver has, counted from 0.
        count: usize,
    },
    /// The driver or the device failed while it was opened.
    #[error("the device cannot be used: {0}")]
    Unusable(Failure),
}

/// A device that runs the kernels, and keeps a pool of values.
pub trait Device: Send {
    /// The device's name, for people.
    fn name(&self) -> &str;

    /// How many values the pool has room for.
    fn room(&self) -> u64;

    /// Writes values to places in the pool; a place that comes twice must have the same value. May return before the
    /// values are written, but writes them before it carries out the next call.
    ///
    /// # Errors
    /// If the device fails.
    fn write(&mut self, writes: &[(u64, f64)]) -> Result<(), Failure>;

    /// Computes the statistics of windows in the pool. `rows` then has one row a window, as
    /// [`Layout`](super::record::Layout) says.
    ///
    /// # Errors
    /// If the device fails.
    fn compute(&mut self, rings: &[Ring], wanted: Wanted, rows: &mut Vec<u64>) -> Result<(), Failure>;

    /// Computes the statistics of windows in `values`, which are uploaded and not kept.
    ///
    /// # Errors
    /// If the device fails.
    fn compute_values(
        &mut self,
        values: &[f64],
        rings: &[Ring],
        wanted: Wanted,
        rows: &mut Vec<u64>,
    ) -> Result<(), Failure>;
}

/// Learns what happens to batches, so that the caller can log and count; this crate does neither.
pub trait Witness: Send + Sync {
    /// This many windows were computed on the `"cpu"` or on `"cuda"`.
    fn computed(&self, on: &'static str, windows: usize);

    /// The device failed. From now on everything is computed on the CPU.
    fn lost(&self, device: &str, failure: &Failure);
}

/// The CPU as the place of a computation, in logs and metrics.
pub const ON_CPU: &str = "cpu";
/// The device as the place of a computation; see [`ON_CPU`].
pub const ON_DEVICE: &str = "cuda";

/// A device in the host's memory that computes with the CPU's functions, and that can fail at a chosen call.
#[doc(hidden)]
pub mod fake {
    use super::{Device, Failure, Ring, Wanted, Witness};
    use crate::{cpu, record::Layout};

    #[derive(Debug)]
    pub struct Fake {
        pool: Vec<f64>,
        /// How many calls still succeed.
        pub calls_left: usize,
    }

    impl Fake {
        /// A device with room for `room` values that fails after `calls_left` calls.
        #[must_use]
        pub fn new(room: usize, calls_left: usize) -> Self {
            Self { pool: vec![f64::NAN; room], calls_left }
        }

        fn call(&mut self, call: &'static str) -> Result<(), Failure> {
            match self.calls_left.checked_sub(1) {
                Some(left) => self.calls_left = left,
                None => return Err(Failure { call, problem: "it has come off the bus".to_owned() }),
            }
            Ok(())
        }
    }

    fn place(place: u64) -> usize {
        usize::try_from(place).unwrap_or(usize::MAX)
    }

    fn put_rows(pool: &[f64], rings: &[Ring], wanted: Wanted, rows: &mut Vec<u64>) {
        let layout = Layout::new(wanted);
        rows.clear();
        rows.extend(rings.iter().flat_map(|ring| {
            let at = |i: u32| place(ring.base) + ((ring.head + i) % ring.capacity.max(1)) as usize;
            let window: Vec<f64> = (0..ring.length).map(|i| pool[at(i)]).collect();
            layout.row(&cpu::summarise(&window, wanted, &mut Vec::new()))
        }));
    }

    impl Device for Fake {
        fn name(&self) -> &'static str {
            "fake"
        }

        fn room(&self) -> u64 {
            self.pool.len() as u64
        }

        fn write(&mut self, writes: &[(u64, f64)]) -> Result<(), Failure> {
            self.call("write")?;
            for &(to, value) in writes {
                self.pool[place(to)] = value;
            }
            Ok(())
        }

        fn compute(&mut self, rings: &[Ring], wanted: Wanted, rows: &mut Vec<u64>) -> Result<(), Failure> {
            self.call("compute")?;
            put_rows(&self.pool, rings, wanted, rows);
            Ok(())
        }

        fn compute_values(
            &mut self,
            values: &[f64],
            rings: &[Ring],
            wanted: Wanted,
            rows: &mut Vec<u64>,
        ) -> Result<(), Failure> {
            self.call("compute values")?;
            put_rows(values, rings, wanted, rows);
            Ok(())
        }
    }

    /// A witness that remembers what it learned.
    #[derive(Debug, Default)]
    pub struct Told(pub std::sync::Mutex<(Computed, Lost)>);

    type Computed = Vec<(&'static str, usize)>;
    type Lost = Vec<String>;

    impl Told {
        fn told(&self) -> std::sync::MutexGuard<'_, (Computed, Lost)> {
            self.0.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
        }
    }

    impl Witness for Told {
        fn computed(&self, on: &'static str, windows: usize) {
            self.told().0.push((on, windows));
        }

        fn lost(&self, device: &str, failure: &Failure) {
            self.told().1.push(format!("{device}: {failure}"));
        }
    }
}
