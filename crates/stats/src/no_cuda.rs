//! Stands in for [`cuda`](self) in a build without the feature `cuda`: no device can be opened.

use super::{
    Wanted,
    device::{Absent, Device, Failure},
    rings::Ring,
};

/// A GPU; this build has none.
#[derive(Debug)]
pub enum Cuda {}

impl Cuda {
    /// Always fails.
    ///
    /// # Errors
    /// Always [`Absent::NotBuilt`].
    pub fn open(_ordinal: usize) -> Result<Self, Absent> {
        Err(Absent::NotBuilt)
    }
}

impl Device for Cuda {
    fn name(&self) -> &str {
        match *self {}
    }

    fn room(&self) -> u64 {
        match *self {}
    }

    fn write(&mut self, _writes: &[(u64, f64)]) -> Result<(), Failure> {
        match *self {}
    }

    fn compute(&mut self, _rings: &[Ring], _wanted: Wanted, _rows: &mut Vec<u64>) -> Result<(), Failure> {
        match *self {}
    }

    fn compute_values(
        &mut self,
        _values: &[f64],
        _rings: &[Ring],
        _wanted: Wanted,
        _rows: &mut Vec<u64>,
    ) -> Result<(), Failure> {
        match *self {}
    }
}
