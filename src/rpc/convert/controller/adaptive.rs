//! The controllers that no other library has.

use super::{int64, named_or, whole};
use lrs_model::{
    controller::{Auto, NoiseScale, RangeTest, StatisticalPlateau},
    violation::Violations,
};
use lrs_proto as proto;

pub(super) fn auto_from_proto(auto: proto::Auto, v: &mut Violations) -> Auto {
    Auto {
        evaluation_metric: Some(auto.evaluation_metric).filter(|metric| !metric.is_empty()),
        search: auto.search,
        plateau_cuts: auto.plateau_cuts,
        cooldown: auto.cooldown,
        guard: auto.guard,
        keep_best: auto.keep_best,
        revision: auto.revision.map(|revision| whole(v, "revision", revision, 1, Auto::REVISION)),
    }
}

pub(super) fn auto_to_proto(auto: &Auto) -> proto::Auto {
    proto::Auto {
        evaluation_metric: auto.evaluation_metric.clone().unwrap_or_default(),
        search: auto.search,
        plateau_cuts: auto.plateau_cuts,
        cooldown: auto.cooldown,
        guard: auto.guard,
        keep_best: auto.keep_best,
        revision: auto.revision.map(int64),
    }
}

pub(super) fn range_test_from_proto(test: &proto::RangeTest, v: &mut Violations) -> RangeTest {
    let defaults = RangeTest::default();
    RangeTest {
        start_lr: test.start_lr.unwrap_or(defaults.start_lr),
        end_lr: test.end_lr.unwrap_or(defaults.end_lr),
        rates: test.rates.map_or(defaults.rates, |rates| whole(v, "rates", rates, 8, 512)),
        steps_per_rate: test
            .steps_per_rate
            .map_or(defaults.steps_per_rate, |steps| whole(v, "steps_per_rate", steps, 1, 1024)),
        divergence_factor: test.divergence_factor.unwrap_or(defaults.divergence_factor),
    }
}

pub(super) fn range_test_to_proto(test: &RangeTest) -> proto::RangeTest {
    proto::RangeTest {
        start_lr: Some(test.start_lr),
        end_lr: Some(test.end_lr),
        rates: Some(int64(test.rates)),
        steps_per_rate: Some(int64(test.steps_per_rate)),
        divergence_factor: Some(test.divergence_factor),
    }
}

pub(super) fn statistical_plateau_from_proto(
    plateau: proto::StatisticalPlateau,
    v: &mut Violations,
) -> StatisticalPlateau {
    let defaults = StatisticalPlateau::default();
    StatisticalPlateau {
        metric: named_or(plateau.metric, defaults.metric),
        window: window(plateau.window, defaults.window, v),
        threshold: plateau.threshold.unwrap_or(defaults.threshold),
        factor: plateau.factor.unwrap_or(defaults.factor),
        min_lr: plateau.min_lr,
    }
}

pub(super) fn statistical_plateau_to_proto(plateau: &StatisticalPlateau) -> proto::StatisticalPlateau {
    proto::StatisticalPlateau {
        metric: plateau.metric.clone(),
        window: Some(int64(plateau.window)),
        threshold: Some(plateau.threshold),
        factor: Some(plateau.factor),
        min_lr: plateau.min_lr,
    }
}

pub(super) fn noise_scale_from_proto(scale: proto::NoiseScale, v: &mut Violations) -> NoiseScale {
    NoiseScale { window: window(scale.window, NoiseScale::default().window, v) }
}

pub(super) fn noise_scale_to_proto(scale: &NoiseScale) -> proto::NoiseScale {
    proto::NoiseScale { window: Some(int64(scale.window)) }
}

fn window(given: Option<i64>, default: u64, v: &mut Violations) -> u64 {
    given.map_or(default, |window| whole(v, "window", window, 32, 1024))
}
