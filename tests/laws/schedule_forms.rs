//! The named forms people write: their curves at steps that can be computed by hand, what they expand to, their
//! defaults, and what they say when something is wrong.

use lrs_model::{
    schedule::{Chain, ChainLink, Ease, Past, PowerLaw, Repeat, ScheduleSpec as S, Sequence, Shape, Shift},
    violation::Violations,
};
use lrs_schedule::{MAX_DEPTH, MAX_LIST, Schedule, canonical, expand};
use serde_json::{Value, json};

/// A schedule, from its JSON form.
fn read(written: Value) -> S {
    serde_json::from_value(written).expect("a schedule")
}

fn schedule(spec: &S, horizon: Option<u64>) -> Schedule {
    let mut violations = Violations::new();
    Schedule::try_new(spec, horizon, &mut violations).unwrap_or_else(|| panic!("{violations}"))
}

/// Asserts the values for a base rate of 0.8, up to rounding.
#[track_caller]
fn assert_curve(spec: &S, horizon: Option<u64>, points: &[(u64, f64)]) {
    let schedule = schedule(spec, horizon);
    for &(step, want) in points {
        let value = schedule.value_at(step, 0.8);
        assert!((value - want).abs() <= 1e-15, "at {step}: {value} is not {want}");
    }
}

/// What is wrong with `spec`, as `field: description`.
#[track_caller]
fn wrong(spec: &S, horizon: Option<u64>) -> Vec<String> {
    let mut violations = Violations::new();
    assert_eq!(Schedule::try_new(spec, horizon, &mut violations), None);
    violations.iter().map(|violation| format!("{}: {}", violation.field, violation.description)).collect()
}

fn cosine(params: Value) -> S {
    S::named("cosine", params)
}

fn linear(params: Value) -> S {
    S::named("linear", params)
}

fn line(start: S, end: S, over: f64) -> S {
    S::Ease(Box::new(Ease { start, end, over, ..Ease::default() }))
}

fn warmup(warmup_steps: u64, schedule: &S) -> S {
    S::named("warmup", json!({"warmup_steps": warmup_steps, "schedule": schedule}))
}

#[test]
fn cosine_falls_to_its_floor_and_holds() {
    let cosine = cosine(json!({"decay_steps": 100, "floor": {"min_lr": 0.2}}));
    assert_curve(&cosine, None, &[(0, 0.8), (50, 0.5), (100, 0.2), (10_000, 0.2)]);
    // Half way down to the half: cos(pi / 4).
    assert_curve(&cosine, None, &[(25, 0.5 + 0.3 * std::f64::consts::FRAC_1_SQRT_2)]);
}

#[test]
fn linear_falls_to_a_part_of_the_base_rate() {
    let linear = linear(json!({"decay_steps": 4, "floor": {"min_factor": 0.5}}));
    assert_curve(&linear, None, &[(0, 0.8), (1, 0.7), (3, 0.5), (4, 0.4), (5, 0.4)]);
}

#[test]
fn polynomial_falls_with_its_power() {
    let polynomial = S::named("polynomial", json!({"decay_steps": 4, "power": 2.0}));
    assert_curve(&polynomial, None, &[(0, 0.8), (1, 0.45), (2, 0.2), (4, 0.0), (9, 0.0)]);
}

#[test]
fn step_drops_as_torch_step_lr_does() {
    let step = S::named("step", json!({"step_size": 30}));
    assert_curve(&step, None, &[(0, 0.8), (29, 0.8), (30, 0.08), (59, 0.08), (60, 0.008)]);
}

#[test]
fn multi_step_drops_at_each_milestone_and_twice_at_one_listed_twice() {
    let multi_step = S::named("multi_step", json!({"milestones": [3, 5, 5], "gamma": 0.5}));
    assert_curve(&multi_step, None, &[(2, 0.8), (3, 0.4), (4, 0.4), (5, 0.1), (100, 0.1)]);
}

#[test]
fn exponential_falls_smoothly() {
    let exponential = S::named("exponential", json!({"gamma": 0.25, "decay_steps": 2}));
    assert_curve(&exponential, None, &[(0, 0.8), (1, 0.4), (2, 0.2), (4, 0.05)]);
}

#[test]
fn inverse_sqrt_halves_at_three_timescales() {
    assert_curve(&S::named("inverse_sqrt", json!({"timescale": 5})), None, &[(0, 0.8), (15, 0.4), (75, 0.2)]);
}

#[test]
fn warmup_rises_to_what_follows_and_gives_it_a_time_of_its_own() {
    let spec = warmup(4, &linear(json!({})));
    assert_curve(&spec, Some(12), &[(0, 0.0), (1, 0.2), (4, 0.8), (8, 0.4), (12, 0.0), (13, 0.0)]);
}

#[test]
fn one_cycle_peaks_at_its_fraction_and_ends_at_its_last_step() {
    let one_cycle = |shape| {
        S::named("one_cycle", json!({"pct_start": 0.25, "div_factor": 8.0, "final_div_factor": 2.0, "shape": shape}))
    };
    let points = [(0, 0.1), (5, 0.8), (19, 0.05), (20, 0.05), (1000, 0.05)];
    assert_curve(&one_cycle("cosine"), Some(20), &points);
    assert_curve(&one_cycle("linear"), Some(20), &points);
    assert_curve(&one_cycle("linear"), Some(20), &[(1, 0.24), (12, 0.425)]);
}

#[test]
fn wsd_warms_up_stays_and_decays_at_the_end() {
    let wsd = S::named("wsd", json!({"warmup_steps": 4, "decay_steps": 16}));
    let points = [(0, 0.0), (2, 0.4), (4, 0.8), (84, 0.8), (88, 0.4), (93, 0.2), (100, 0.0), (101, 0.0)];
    assert_curve(&wsd, Some(100), &points);
}

#[test]
fn wsd_decays_over_the_last_fifth_unless_told_otherwise() {
    for (total, decay) in [(100, 20), (63, 13), (62, 12), (2, 1)] {
        let curve = |params| expand(&S::named("wsd", params), Some(total), &mut Violations::new());
        assert_eq!(curve(json!({})), curve(json!({"decay_steps": decay})), "of {total}");
    }
    let open = "wsd.total_steps: must be set where there is no total_steps to take it from";
    assert_eq!(wrong(&S::named("wsd", json!({})), None), [open]);
}

#[test]
fn what_is_required_is_named_and_no_value_that_nobody_wrote() {
    for (form, field) in [
        ("step", "step_size"),
        ("exponential", "gamma"),
        ("inverse_sqrt", "timescale"),
        ("cosine_restarts", "first_steps"),
        ("cyclic", "up_steps"),
        ("power_law", "tau"),
        ("geometric", "rate"),
        ("repeat", "first"),
        ("stair", "every"),
        ("chain", "links"),
    ] {
        let found = wrong(&read(json!({form: {}})), Some(100));
        let required = format!("{form}.{field}: is required: must be ");
        assert!(found.iter().any(|problem| problem.starts_with(&required)), "{found:?}");
        assert!(found.iter().all(|problem| !problem.contains("0 is not") && !problem.contains("0 links")), "{found:?}");
    }
}

#[test]
fn cosine_restarts_begin_again_in_growing_cycles() {
    let restarts = S::named("cosine_restarts", json!({"first_steps": 10, "growth": 2.0}));
    assert_curve(&restarts, None, &[(0, 0.8), (5, 0.4), (10, 0.8), (20, 0.4), (30, 0.8), (50, 0.4), (70, 0.8)]);
}

#[test]
fn scaled_restarts_shrink_the_peak_and_not_the_floor() {
    for floor in [json!({"min_lr": 0.2}), json!({"min_factor": 0.25})] {
        let restarts = S::named("cosine_restarts", json!({"first_steps": 10, "scale": 0.5, "floor": floor}));
        assert_curve(&restarts, None, &[(0, 0.8), (5, 0.5), (10, 0.4), (15, 0.3), (20, 0.2), (25, 0.2)]);
        // Past the floor, a peak that goes on shrinking would be below it.
        assert_curve(&restarts, None, &[(30, 0.1), (35, 0.15)]);
    }
    let to_zero = S::named("cosine_restarts", json!({"first_steps": 10, "scale": 0.5}));
    assert_curve(&to_zero, None, &[(0, 0.8), (5, 0.4), (10, 0.4), (15, 0.2), (20, 0.2)]);
}

#[test]
fn cyclic_goes_up_and_down_between_floor_and_base() {
    let cyclic = |scale| {
        S::named("cyclic", json!({"up_steps": 2, "down_steps": 6, "floor": {"min_factor": 0.25}, "scale": scale}))
    };
    let points = [(0, 0.2), (1, 0.5), (2, 0.8), (5, 0.5), (8, 0.2), (10, 0.8)];
    assert_curve(&cyclic(1.0), None, &points);
    assert_curve(&cyclic(0.5), None, &points[..5]);
    assert_curve(&cyclic(0.5), None, &[(9, 0.35), (10, 0.5), (13, 0.35), (18, 0.35)]);
}

#[test]
fn the_expansion_is_the_documented_one() {
    let written = warmup(10, &cosine(json!({"floor": {"min_lr": 0.01}})));
    let expanded = expand(&written, Some(100), &mut Violations::new());

    let ramp = line(S::Base(0.0), S::Base(1.0), 10.0);
    let fall = Ease { end: S::Constant(0.01), over: 90.0, shape: Shape::Cosine, ..Ease::default() };
    assert_eq!(expanded, S::Seq(Sequence { boundaries: vec![10.0], parts: vec![ramp, S::Ease(Box::new(fall))] }));
}

#[test]
fn the_canonical_form_has_every_default_and_the_same_curve() {
    for (written, canonical_form) in [
        (
            json!({"warmup": {"warmup_steps": 5, "schedule": {"polynomial": {}}}}),
            json!({"warmup": {"warmup_steps": 5, "start_factor": 0.0, "shape": "linear",
                "schedule": {"polynomial": {"power": 1.0}}}}),
        ),
        (
            json!({"sum": {"terms": [{"one_cycle": {}}, {"stair": {"schedule": {"cyclic": {"up_steps": 3}}, "every": 2.0}}]}}),
            json!({"sum": {"terms": [
                {"one_cycle": {"pct_start": 0.3, "div_factor": 25.0, "final_div_factor": 1e4, "shape": "cosine"}},
                {"stair": {"schedule": {"cyclic": {"up_steps": 3, "scale": 1.0}}, "every": 2.0}},
            ]}}),
        ),
        (
            json!({"wsd": {"decay_steps": 9, "floor": {"min_lr": 0.1}}}),
            json!({"wsd": {"warmup_steps": 0, "decay_steps": 9, "floor": {"min_lr": 0.1}, "shape": {"power": 0.5}}}),
        ),
        (json!({"step": {"step_size": 3}}), json!({"step": {"step_size": 3, "gamma": 0.1}})),
    ] {
        let written = read(written);
        let canonical_form = read(canonical_form);
        assert_eq!(canonical(written.clone()), canonical_form);
        assert_eq!(canonical(canonical_form.clone()), canonical_form);
        assert_eq!(schedule(&canonical_form, Some(100)), schedule(&written, Some(100)));
    }
}

#[test]
fn a_length_is_what_is_left_where_the_form_begins() {
    let linear = || linear(json!({}));
    let seq = S::Seq(Sequence { boundaries: vec![60.0], parts: vec![S::Base(1.0), linear()] });
    assert_curve(&seq, Some(100), &[(59, 0.8), (60, 0.8), (70, 0.6), (100, 0.0)]);
    let between_steps = S::Seq(Sequence { boundaries: vec![59.5], parts: vec![S::Base(1.0), linear()] });
    assert_curve(&between_steps, Some(100), &[(59, 0.8), (60, 0.8 * (1.0 - 0.5 / 40.5)), (100, 0.0)]);
    let shifted = S::Shift(Box::new(Shift { schedule: linear(), steps: 20.0 }));
    assert_curve(&shifted, Some(100), &[(0, 0.8 * (1.0 - 20.0 / 120.0)), (40, 0.4), (100, 0.0)]);
    let cycle = S::Repeat(Box::new(Repeat {
        body: linear(),
        first: 4.0,
        limit: Some(2),
        after: linear(),
        ..Repeat::default()
    }));
    assert_curve(&cycle, Some(18), &[(0, 0.8), (2, 0.4), (4, 0.8), (8, 0.8), (13, 0.4), (18, 0.0)]);
}

#[test]
fn a_form_without_a_length_and_nothing_to_take_it_from_says_which_field_to_set() {
    let spec = warmup(10, &cosine(json!({})));
    assert_eq!(
        wrong(&spec, None),
        ["warmup.schedule.cosine.decay_steps: must be set where there is no total_steps to take it from"]
    );
    assert_eq!(
        wrong(&spec, Some(10)),
        ["warmup.schedule.cosine.decay_steps: must be set: 0 of total_steps is left here, and it takes at least 1"]
    );
}

#[test]
fn phases_that_do_not_fit_are_refused() {
    let wsd = |total: Option<u64>| {
        S::named("wsd", json!({"warmup_steps": 60, "decay_steps": 60, "total_steps": total, "shape": "linear"}))
    };
    let problem = "warmup_steps + decay_steps = 120 is not allowed: must be at most the 100 steps there are";
    assert_eq!(wrong(&wsd(Some(100)), None), [format!("wsd.total_steps: {problem}")]);
    assert_eq!(wrong(&wsd(None), Some(100)), [format!("wsd.decay_steps: {problem}")]);
}

#[test]
fn a_schedule_that_is_required_is_named_by_its_path() {
    let written = read(json!({"clamp": {"schedule": {"shift": {}}, "max": {}}}));
    let required = "is required: exactly one form, such as `base` or `cosine`, or a `library` and its `scheduler`";
    assert_eq!(
        wrong(&written, None),
        [format!("clamp.schedule.shift.schedule: {required}"), format!("clamp.max: {required}")]
    );
}

#[test]
fn a_form_and_a_parameter_that_do_not_exist_are_refused() {
    let unknown = wrong(&S::Sum { terms: vec![S::named("cosines", json!({}))] }, None);
    assert!(
        unknown[0].starts_with("sum.terms[0].cosines: \"cosines\" is not a form: did you mean cosine?"),
        "{unknown:?}"
    );
    let unknown = wrong(&cosine(json!({"steps": 3})), None);
    assert!(unknown[0].starts_with("cosine: unknown field `steps`"), "{unknown:?}");
}

#[test]
fn everything_that_is_wrong_is_told_at_once_with_its_path() {
    let spec = S::Seq(Sequence {
        boundaries: vec![10.0, 5.0],
        parts: vec![
            S::Ease(Box::new(Ease {
                start: S::Constant(f64::NAN),
                end: S::Product { factors: vec![S::Base(f64::INFINITY)] },
                over: -1.0,
                shape: Shape::Tanh { lower: f64::NAN, upper: 1.0 },
                past: Past::Hold,
                warp: 0.0,
            })),
            S::Sum { terms: Vec::new() },
            cosine(json!({"decay_steps": 0, "floor": {"min_lr": -0.1}})),
        ],
    });
    let fields: Vec<String> =
        wrong(&spec, None).iter().map(|text| text.split(": ").next().unwrap_or("").to_owned()).collect();
    assert_eq!(
        fields,
        [
            "seq.boundaries[1]",
            "seq.parts[0].ease.over",
            "seq.parts[0].ease.shape.tanh.lower",
            "seq.parts[0].ease.warp",
            "seq.parts[0].ease.start.constant",
            "seq.parts[0].ease.end.product.factors[0].base",
            "seq.parts[1].sum.terms",
            "seq.parts[2].cosine.decay_steps",
            "seq.parts[2].cosine.floor.min_lr",
        ]
    );
}

#[test]
fn each_parameter_out_of_range_is_refused() {
    let repeat = Repeat { body: S::Base(1.0), first: 0.0, growth: 0.9, scale: -1.0, ..Repeat::default() };
    let power_law = PowerLaw { tau: 0.0, exponent: f64::NAN, ..PowerLaw::default() };
    let cases: [(S, &[&str]); 14] = [
        (S::Repeat(Box::new(repeat)), &["repeat.first", "repeat.growth", "repeat.scale"]),
        (read(json!({"stair": {"schedule": {"base": 1.0}}})), &["stair.every"]),
        (S::Shift(Box::new(Shift { schedule: S::Base(1.0), steps: f64::NAN })), &["shift.steps"]),
        (S::PowerLaw(Box::new(power_law)), &["power_law.tau", "power_law.exponent"]),
        (read(json!({"polynomial": {"decay_steps": 1, "power": 0.0}})), &["polynomial.power"]),
        (read(json!({"step": {"gamma": 0.0}})), &["step.step_size", "step.gamma"]),
        (
            read(json!({"multi_step": {"milestones": [5, 4], "gamma": -1.0}})),
            &["multi_step.gamma", "multi_step.milestones[1]"],
        ),
        (read(json!({"exponential": {"decay_steps": 0}})), &["exponential.gamma", "exponential.decay_steps"]),
        (read(json!({"inverse_sqrt": {}})), &["inverse_sqrt.timescale"]),
        (
            read(json!({"one_cycle": {"total_steps": 1, "pct_start": 1.0, "div_factor": 0.5, "final_div_factor": 0.5,
                "shape": {"log": 1.0}}})),
            &[
                "one_cycle.total_steps",
                "one_cycle.pct_start",
                "one_cycle.div_factor",
                "one_cycle.final_div_factor",
                "one_cycle.shape.log",
            ],
        ),
        (
            read(json!({"wsd": {"warmup_steps": u64::MAX, "decay_steps": 0, "total_steps": 0, "shape": {"exp": 1.0}}})),
            &["wsd.warmup_steps", "wsd.decay_steps", "wsd.total_steps", "wsd.shape.exp"],
        ),
        (
            read(json!({"cosine_restarts": {"growth": 0.5, "scale": -1.0, "floor": {"min_factor": -1.0}}})),
            &[
                "cosine_restarts.first_steps",
                "cosine_restarts.growth",
                "cosine_restarts.scale",
                "cosine_restarts.floor.min_factor",
            ],
        ),
        (
            read(json!({"cyclic": {"down_steps": 0, "scale": -0.5}})),
            &["cyclic.up_steps", "cyclic.down_steps", "cyclic.scale"],
        ),
        (read(json!({"seq": {"boundaries": [1.0], "parts": [{"base": 1.0}]}})), &["seq.boundaries"]),
    ];
    for (spec, fields) in cases {
        let found = wrong(&spec, None);
        let found: Vec<&str> = found.iter().filter_map(|text| text.split(": ").next()).collect();
        assert_eq!(found, fields);
    }
}

#[test]
fn a_schedule_nested_too_deep_is_refused_and_one_level_less_is_not() {
    let nested = |levels: usize| (1..levels).fold(S::Base(1.0), |inner, _| S::Sum { terms: vec![inner] });
    schedule(&nested(MAX_DEPTH), None);
    let problems = wrong(&nested(MAX_DEPTH + 1), None);
    assert_eq!(problems.len(), 1);
    assert!(problems[0].ends_with("is nested too deep: at most 32 levels are allowed"), "{}", problems[0]);
    // A named form counts as what it expands to.
    let deep = (1..MAX_DEPTH).fold(linear(json!({"decay_steps": 1})), |inner, _| S::Sum { terms: vec![inner] });
    assert_eq!(wrong(&deep, None).len(), 1);
}

#[test]
fn a_schedule_of_too_many_parts_is_refused() {
    let constants = |count: usize| S::Sum { terms: vec![S::Constant(0.0); count] };
    schedule(&constants(MAX_LIST), None);
    assert_eq!(
        wrong(&constants(MAX_LIST + 1), None),
        ["sum.terms: 4097 entries are not allowed: must be at most 4096"]
    );
    let problems = wrong(&S::Sum { terms: vec![constants(4000), constants(4000), constants(4000)] }, None);
    assert_eq!(
        problems,
        [
            "sum.terms[2].sum.terms[1996]: is one part too many: at most 10000 are allowed, named forms counted as they expand"
        ]
    );
    let milestones = S::named("multi_step", json!({"milestones": vec![1; 4000]}));
    assert_eq!(wrong(&S::Sum { terms: vec![milestones; 3] }, None).len(), 1);
}

#[test]
fn breakpoints_are_at_and_just_before_every_boundary() {
    let spec = warmup(10, &S::named("cosine_restarts", json!({"first_steps": 20, "growth": 2.0})));
    assert_eq!(schedule(&spec, None).breakpoints(100), [0, 9, 10, 29, 30, 69, 70, 100]);
    let cyclic = S::named("cyclic", json!({"up_steps": 3, "down_steps": 7}));
    assert_eq!(schedule(&cyclic, None).breakpoints(15), [0, 2, 3, 9, 10, 12, 13, 15]);
    let stairs = read(json!({"stair": {"schedule": {"exponential": {"gamma": 0.9}}, "every": 2.5}}));
    assert_eq!(schedule(&stairs, None).breakpoints(8), [0, 2, 3, 4, 5, 7, 8]);
}

#[test]
fn of_too_many_stairs_an_even_selection_is_given() {
    let step = schedule(&S::named("step", json!({"step_size": 2, "gamma": 0.999})), None);
    let breakpoints = step.breakpoints(1_000_000);
    assert!((2_000..=10_000).contains(&breakpoints.len()), "{}", breakpoints.len());
    let widest = breakpoints.windows(2).map(|pair| pair[1] - pair[0]).max();
    assert!(widest < Some(1_000), "{widest:?}");
}

#[test]
fn a_chain_takes_no_more_work_than_is_allowed() {
    let chain = |schedule: S, steps: u64| {
        let link = ChainLink { schedule, ..ChainLink::default() };
        S::Chain(Chain { links: vec![link], steps })
    };
    let cosine = || cosine(json!({"decay_steps": 100}));
    assert_curve(&chain(cosine(), 200), None, &[(0, 0.8), (50, 0.4), (200, 0.0)]);

    let nested = wrong(&chain(chain(cosine(), 10), 10), None);
    assert!(nested[0].starts_with("chain.links[0].schedule.chain: is not allowed within another chain"), "{nested:?}");
    let long = wrong(&S::Sum { terms: vec![chain(S::Sum { terms: vec![cosine(); 12] }, 1_000_000)] }, None);
    assert!(long[0].starts_with("sum.terms[0].chain.steps: 1000000 steps over links of"), "{long:?}");
}
