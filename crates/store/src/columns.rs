//! Samples turned into columns, as `telemetry` holds them, and back.

use std::{collections::BTreeMap, sync::Arc};

use lrs_model::{MAX_STEP, telemetry::Sample};

/// One figure for each sample; `None` where the sample has none. The whole column is `None` if no sample has the
/// figure.
pub(super) type Figures = Option<Vec<Option<f64>>>;

/// The samples of a chunk in columns.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Columns {
    /// Rising.
    pub(super) steps: Vec<i64>,
    pub(super) loss: Figures,
    pub(super) grad_norm: Figures,
    pub(super) learning_rate: Figures,
    /// Rising.
    pub(super) metric_names: Vec<String>,
    /// Places in `metric_names`, from 1; parallel to `metric_steps` and `metric_values`. A place and a step may repeat.
    pub(super) metric_indices: Vec<i32>,
    pub(super) metric_steps: Vec<i64>,
    pub(super) metric_values: Vec<f64>,
}

impl Columns {
    /// The columns of samples by rising step.
    ///
    /// # Errors
    /// If a step is above [`MAX_STEP`], or the steps do not rise.
    pub(super) fn of(samples: &[Sample]) -> Result<Self, String> {
        let mut columns = Self {
            steps: samples.iter().map(|sample| stored_step(sample.step)).collect::<Result<_, _>>()?,
            loss: figures(samples, |sample| sample.loss),
            grad_norm: figures(samples, |sample| sample.grad_norm),
            learning_rate: figures(samples, |sample| sample.learning_rate),
            ..Self::default()
        };
        check_rising(&columns.steps)?;
        let mut series: BTreeMap<&str, Vec<(i64, f64)>> = BTreeMap::new();
        for (sample, step) in samples.iter().zip(&columns.steps) {
            for (name, value) in &sample.metrics {
                series.entry(name).or_default().push((*step, *value));
            }
        }
        for (name, values) in series {
            columns.metric_names.push(name.to_owned());
            let index = i32::try_from(columns.metric_names.len()).map_err(|_| "too many metrics".to_owned())?;
            for (step, value) in values {
                columns.metric_indices.push(index);
                columns.metric_steps.push(step);
                columns.metric_values.push(value);
            }
        }
        Ok(columns)
    }

    /// The samples of these columns.
    ///
    /// # Errors
    /// What is wrong, if the columns do not fit together.
    pub(super) fn into_samples(self) -> Result<Vec<Sample>, String> {
        check_rising(&self.steps)?;
        let mut samples =
            self.steps.iter().map(|&step| model_step(step).map(Sample::new)).collect::<Result<Vec<_>, _>>()?;
        fill(&mut samples, "loss", self.loss, |sample| &mut sample.loss)?;
        fill(&mut samples, "grad_norm", self.grad_norm, |sample| &mut sample.grad_norm)?;
        fill(&mut samples, "learning_rate", self.learning_rate, |sample| &mut sample.learning_rate)?;

        let count = self.metric_values.len();
        if self.metric_indices.len() != count || self.metric_steps.len() != count {
            return Err("the columns of metrics differ in length".to_owned());
        }
        let names: Vec<Arc<str>> = self.metric_names.into_iter().map(Arc::from).collect();
        for ((index, step), value) in self.metric_indices.into_iter().zip(self.metric_steps).zip(self.metric_values) {
            let name = usize::try_from(index)
                .ok()
                .and_then(|index| names.get(index.checked_sub(1)?))
                .ok_or_else(|| format!("there is no metric number {index}"))?;
            let at = self.steps.binary_search(&step).map_err(|_| format!("a metric of step {step}, not in steps"))?;
            let metrics = &mut samples[at].metrics;
            if metrics.last().is_some_and(|(last, _)| last > name) {
                return Err(format!("the metrics of step {step} do not rise"));
            }
            metrics.push((name.clone(), value));
        }
        Ok(samples)
    }
}

/// A step as all databases store it.
pub(super) fn stored_step(step: u64) -> Result<i64, String> {
    match i64::try_from(step) {
        Ok(stored) if step <= MAX_STEP => Ok(stored),
        _ => Err(format!("step {step} is above {MAX_STEP}")),
    }
}

fn model_step(step: i64) -> Result<u64, String> {
    u64::try_from(step).map_err(|_| format!("step {step} is negative"))
}

fn check_rising(steps: &[i64]) -> Result<(), String> {
    match steps.windows(2).find(|pair| pair[0] >= pair[1]) {
        None => Ok(()),
        Some(pair) => Err(format!("step {} after step {}: steps must rise", pair[1], pair[0])),
    }
}

fn figures(samples: &[Sample], figure: impl Fn(&Sample) -> Option<f64>) -> Figures {
    let values: Vec<_> = samples.iter().map(figure).collect();
    values.iter().any(Option::is_some).then_some(values)
}

fn fill(
    samples: &mut [Sample],
    column: &str,
    figures: Figures,
    field: impl Fn(&mut Sample) -> &mut Option<f64>,
) -> Result<(), String> {
    let Some(figures) = figures else { return Ok(()) };
    if figures.len() != samples.len() {
        return Err(format!("{column} has {} elements, steps has {}", figures.len(), samples.len()));
    }
    for (sample, figure) in samples.iter_mut().zip(figures) {
        *field(sample) = figure;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns() -> Columns {
        let mut first = Sample { loss: Some(f64::NAN), ..Sample::new(3) };
        first.add_metric("b".into(), 1.0);
        let mut second = Sample { learning_rate: Some(-0.0), ..Sample::new(MAX_STEP) };
        second.add_metric("b".into(), f64::INFINITY);
        second.add_metric("a".into(), 5e-324);
        second.add_metric("a".into(), 1.0);
        Columns::of(&[first, second]).unwrap()
    }

    #[test]
    fn a_column_that_nobody_reported_is_absent() {
        let columns = columns();
        assert!(columns.loss.is_some() && columns.learning_rate.is_some());
        assert_eq!(columns.grad_norm, None);
        assert_eq!(columns.metric_indices, [1, 1, 2, 2]);
    }

    #[test]
    fn columns_that_do_not_fit_together_are_refused() {
        let changes: [fn(&mut Columns); 7] = [
            |c| c.steps.reverse(),
            |c| c.steps[0] = -1,
            |c| c.loss = Some(vec![None]),
            |c| c.metric_indices[0] = 3,
            |c| c.metric_indices[0] = 0,
            |c| c.metric_steps[0] = 4,
            |c| c.metric_names.reverse(),
        ];
        for (i, change) in changes.into_iter().enumerate() {
            let mut damaged = columns();
            change(&mut damaged);
            assert!(damaged.into_samples().is_err(), "damage number {i}");
        }
        assert!(columns().into_samples().is_ok());
    }

    #[test]
    fn samples_whose_steps_do_not_rise_are_refused() {
        assert!(Columns::of(&[Sample::new(1), Sample::new(1)]).is_err());
        assert!(Columns::of(&[Sample::new(MAX_STEP + 1)]).is_err());
    }
}
