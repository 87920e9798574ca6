//! Computes a batch of windows on a device; the values travel with the batch.

use super::{
    Summary, Wanted, Windows,
    device::{Device, Failure},
    record::Layout,
    rings::Ring,
};

/// The statistics of the windows.
pub(super) fn on(device: &mut dyn Device, windows: &Windows, wanted: Wanted) -> Result<Vec<Summary>, Failure> {
    let rings: Vec<Ring> = (0..windows.len())
        .filter_map(|i| windows.range(i))
        .map(|range| {
            // At most MAX_WINDOW.
            let length = u32::try_from(range.len()).unwrap_or(u32::MAX);
            Ring { base: range.start as u64, capacity: length, head: 0, length }
        })
        .collect();
    let mut rows = Vec::new();
    device.compute_values(windows.values(), &rings, wanted, &mut rows)?;
    read(&rows, &rings, wanted)
}

/// Reads the device's rows into summaries.
fn read(rows: &[u64], rings: &[Ring], wanted: Wanted) -> Result<Vec<Summary>, Failure> {
    let layout = Layout::new(wanted);
    let summaries: Option<Vec<Summary>> =
        rows.chunks_exact(layout.stride).zip(rings).map(|(row, ring)| layout.read(row, ring.length as usize)).collect();
    summaries.filter(|summaries| summaries.len() == rings.len()).ok_or_else(unbelievable)
}

/// The failure of a device whose rows cannot be those of these windows.
pub(super) fn unbelievable() -> Failure {
    Failure { call: "read", problem: "the rows are not of these windows".to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_that_are_not_of_the_batch_are_not_believed() {
        let ring = Ring { length: 2, ..Ring::default() };
        let wanted = Wanted { mann_kendall: true, ..Wanted::default() };
        assert!(read(&[2, 1, 0, 18], &[ring], wanted).is_ok());
        assert!(read(&[3, 1, 0, 18], &[ring], wanted).is_err());
        assert!(read(&[2, 1, 0, 18], &[ring, ring], wanted).is_err());
    }
}
