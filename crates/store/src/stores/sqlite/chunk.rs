//! Rows of `telemetry`, with blobs as columns.

use sqlx::{FromRow, Sqlite};

use crate::{
    Chunk, Error,
    columns::Columns,
    dialect::Insert,
    rows::{chunk::ChunkHead, stored_json},
};
use lrs_model::name::JobId;

/// A row of `telemetry`, without its job.
#[derive(FromRow)]
pub(crate) struct StoredChunk {
    #[sqlx(flatten)]
    pub(super) head: ChunkHead,
    steps: Vec<u8>,
    loss: Option<Vec<u8>>,
    grad_norm: Option<Vec<u8>>,
    learning_rate: Option<Vec<u8>>,
    metric_names: String,
    metric_indices: Vec<u8>,
    metric_steps: Vec<u8>,
    metric_values: Vec<u8>,
}

impl TryFrom<(JobId, StoredChunk)> for Chunk {
    type Error = Error;

    fn try_from((job, row): (JobId, StoredChunk)) -> Result<Self, Error> {
        row.head.with_columns(job, row.columns())
    }
}

impl StoredChunk {
    fn columns(&self) -> Result<Columns, String> {
        let steps = decode("steps", &self.steps, i64::from_le_bytes)?;
        let figures = |column, blob: &Option<Vec<u8>>| {
            blob.as_ref().map(|blob| decode_figures(column, blob, steps.len())).transpose()
        };
        Ok(Columns {
            loss: figures("loss", &self.loss)?,
            grad_norm: figures("grad_norm", &self.grad_norm)?,
            learning_rate: figures("learning_rate", &self.learning_rate)?,
            metric_names: serde_json::from_str(&self.metric_names).map_err(|error| format!("metric_names: {error}"))?,
            metric_indices: decode("metric_indices", &self.metric_indices, i32::from_le_bytes)?,
            metric_steps: decode("metric_steps", &self.metric_steps, i64::from_le_bytes)?,
            metric_values: decode("metric_values", &self.metric_values, f64::from_le_bytes)?,
            steps,
        })
    }
}

/// The chunk with these columns, first to last; the steps that searches go by are taken from its own.
pub(crate) fn fuzz_chunk(job: JobId, columns: [Option<Vec<u8>>; 8]) -> Result<Chunk, Error> {
    let [steps, loss, grad_norm, learning_rate, names, metric_indices, metric_steps, metric_values] = columns;
    let steps = steps.unwrap_or_default();
    let at = |bytes: Option<&[u8; 8]>| bytes.map(|bytes| i64::from_le_bytes(*bytes));
    let (elements, _) = steps.as_chunks::<8>();
    let head = ChunkHead {
        attempt: 1,
        seq: 2,
        rank: 3,
        through_step: None,
        first_step: at(elements.first()),
        last_step: at(elements.last()),
        arrivals: None,
        epoch: 0,
    };
    let row = StoredChunk {
        head,
        steps,
        loss,
        grad_norm,
        learning_rate,
        metric_names: String::from_utf8_lossy(&names.unwrap_or_default()).into_owned(),
        metric_indices: metric_indices.unwrap_or_default(),
        metric_steps: metric_steps.unwrap_or_default(),
        metric_values: metric_values.unwrap_or_default(),
    };
    (job, row).try_into()
}

/// Binds the columns of one row.
pub(super) fn bind<'q>(insert: Insert<'q, Sqlite>, columns: &Columns) -> Result<Insert<'q, Sqlite>, Error> {
    Ok(insert
        .bind(encode(&columns.steps, i64::to_le_bytes))
        .bind(columns.loss.as_deref().map(encode_figures))
        .bind(columns.grad_norm.as_deref().map(encode_figures))
        .bind(columns.learning_rate.as_deref().map(encode_figures))
        .bind(stored_json("to store telemetry", &columns.metric_names)?)
        .bind(encode(&columns.metric_indices, i32::to_le_bytes))
        .bind(encode(&columns.metric_steps, i64::to_le_bytes))
        .bind(encode(&columns.metric_values, f64::to_le_bytes)))
}

fn encode<T: Copy, const N: usize>(values: &[T], to_bytes: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| to_bytes(value)).collect()
}

fn decode<T, const N: usize>(column: &str, blob: &[u8], from_bytes: fn([u8; N]) -> T) -> Result<Vec<T>, String> {
    let (elements, rest) = blob.as_chunks::<N>();
    if rest.is_empty() {
        Ok(elements.iter().map(|bytes| from_bytes(*bytes)).collect())
    } else {
        Err(format!("{column} has {} bytes, no multiple of {N}", blob.len()))
    }
}

/// A bit a sample that says whether its figure is there, then the figures that are.
fn encode_figures(figures: &[Option<f64>]) -> Vec<u8> {
    let mut blob = vec![0; figures.len().div_ceil(8)];
    for (i, _) in figures.iter().enumerate().filter(|(_, figure)| figure.is_some()) {
        blob[i / 8] |= 1 << (i % 8);
    }
    blob.extend(figures.iter().flatten().flat_map(|figure| figure.to_le_bytes()));
    blob
}

fn decode_figures(column: &str, blob: &[u8], samples: usize) -> Result<Vec<Option<f64>>, String> {
    let misfit = || format!("{column} has {} bytes, which do not fit {samples} samples", blob.len());
    let (bits, rest) = blob.split_at_checked(samples.div_ceil(8)).ok_or_else(misfit)?;
    let mut values = decode(column, rest, f64::from_le_bytes)?.into_iter();
    let mut figures = Vec::with_capacity(samples);
    for i in 0..samples {
        let is_there = bits[i / 8] & (1 << (i % 8)) != 0;
        let figure = if is_there { Some(values.next().ok_or_else(misfit)?) } else { None };
        figures.push(figure);
    }
    match values.next() {
        None => Ok(figures),
        Some(_) => Err(misfit()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_survive_as_a_blob() {
        let values = [Some(f64::NAN), None, Some(-0.0), Some(f64::NEG_INFINITY), None, Some(5e-324)];
        for length in 0..20 {
            let figures: Vec<_> = values.iter().copied().cycle().take(length).collect();
            let read = decode_figures("loss", &encode_figures(&figures), length).unwrap();
            let bits = |figures: &[Option<f64>]| figures.iter().map(|f| f.map(f64::to_bits)).collect::<Vec<_>>();
            assert_eq!(bits(&read), bits(&figures));
        }
    }

    #[test]
    fn a_blob_of_another_length_is_refused() {
        let blob = encode_figures(&[Some(1.0), None, Some(2.0)]);
        assert!(decode_figures("loss", &blob[..blob.len() - 8], 3).is_err());
        assert!(decode_figures("loss", &blob[..blob.len() - 1], 3).is_err());
        assert!(decode_figures("loss", &[&blob[..], &[0; 8]].concat(), 3).is_err());
        assert!(decode_figures("loss", &[], 3).is_err());
        assert!(decode("steps", &[0; 9], i64::from_le_bytes).is_err());
    }
}
