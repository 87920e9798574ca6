//! Every form survives the wire; what is wrong is named by its path.

use super::*;
use lrs_model::{
    library::LibraryCall,
    schedule::{
        CosineRestarts, Cyclic, Decay, Exponential, Floor, InverseSqrt, LibrarySchedule, MultiStep, OneCycle,
        Polynomial, Shape, StepDecay, Unit, Warmup, WarmupStableDecay,
    },
};

fn parse(json: &str) -> proto::Schedule {
    serde_json::from_str(json).unwrap()
}

fn read(json: &str) -> ScheduleSpec {
    let mut violations = Violations::new();
    let schedule = from_proto(parse(json), &mut violations);
    assert!(violations.is_empty(), "{violations}");
    schedule
}

fn wrong(json: &str) -> Vec<String> {
    let mut violations = Violations::new();
    from_proto(parse(json), &mut violations);
    violations.iter().map(|violation| violation.field.clone()).collect()
}

fn every_form() -> Vec<ScheduleSpec> {
    let base = || ScheduleSpec::Base(0.5);
    let floor = Some(Floor::MinFactor(0.1));
    let tanh = Shape::Tanh { lower: -3.0, upper: 3.0 };
    let mut params = serde_json::Map::new();
    params.insert("gamma".into(), 0.5.into());
    params.insert("decay_t".into(), 30.into());
    vec![
        ScheduleSpec::Constant(1e-3),
        base(),
        ScheduleSpec::Ease(Box::new(Ease {
            start: base(),
            end: ScheduleSpec::Constant(1e-5),
            over: 12.5,
            shape: tanh,
            past: Past::Continue,
            warp: 2.0,
        })),
        ScheduleSpec::Geometric(Box::new(Geometric { value: base(), rate: 0.9, every: 3.0 })),
        ScheduleSpec::PowerLaw(Box::new(PowerLaw { value: base(), tau: 7.0, exponent: 0.5 })),
        ScheduleSpec::Seq(Sequence { boundaries: vec![1.5], parts: vec![base(), base()] }),
        ScheduleSpec::Repeat(Box::new(Repeat {
            body: base(),
            first: 4.0,
            growth: 2.0,
            scale: 0.5,
            limit: Some(3),
            after: base(),
        })),
        ScheduleSpec::Stair(Box::new(Stair { schedule: base(), every: 2.0 })),
        ScheduleSpec::Shift(Box::new(Shift { schedule: base(), steps: -2.0 })),
        ScheduleSpec::Product(vec![base(), base()]),
        ScheduleSpec::Sum(vec![base()]),
        ScheduleSpec::Clamp(Box::new(Clamp { schedule: base(), min: None, max: Some(base()) })),
        ScheduleSpec::Pace(Box::new(Pace { schedule: base(), units: 1, steps: 49, whole: true })),
        ScheduleSpec::Chain(Chain {
            links: vec![
                ChainLink { schedule: base(), floor: 0.5, running: true, resets: Resets::At(vec![0, 7]) },
                ChainLink { schedule: base(), floor: 0.0, running: false, resets: Resets::Always },
            ],
            steps: 100,
        }),
        ScheduleSpec::Library(LibrarySchedule {
            call: LibraryCall { library: "torch".into(), scheduler: "ExponentialLR".into(), params: params.clone() },
            unit: Unit::Token(4096),
        }),
        ScheduleSpec::Library(LibrarySchedule {
            call: LibraryCall { library: "timm".into(), scheduler: "StepLRScheduler".into(), params },
            unit: Unit::Epoch,
        }),
        ScheduleSpec::Warmup(Box::new(Warmup {
            warmup_steps: 10,
            start_factor: 0.1,
            shape: Shape::Log(10.0),
            schedule: base(),
        })),
        ScheduleSpec::Cosine(Decay { decay_steps: Some(9), floor: Some(Floor::MinLr(1e-6)) }),
        ScheduleSpec::Linear(Decay::default()),
        ScheduleSpec::Polynomial(Polynomial { decay_steps: None, floor, power: 2.0 }),
        ScheduleSpec::Step(StepDecay { step_size: 30, gamma: 0.2 }),
        ScheduleSpec::MultiStep(MultiStep { milestones: vec![30, 30, 80], gamma: 0.2 }),
        ScheduleSpec::Exponential(Exponential { gamma: 0.9, decay_steps: 100 }),
        ScheduleSpec::InverseSqrt(InverseSqrt { timescale: 4000 }),
        ScheduleSpec::OneCycle(OneCycle {
            total_steps: Some(100),
            pct_start: 0.4,
            div_factor: 10.0,
            final_div_factor: 100.0,
            shape: Shape::OneMinusSqrt,
        }),
        ScheduleSpec::Wsd(WarmupStableDecay {
            warmup_steps: 1,
            decay_steps: 2,
            total_steps: None,
            floor,
            shape: Shape::Exp(0.1),
        }),
        ScheduleSpec::CosineRestarts(CosineRestarts { first_steps: 10, growth: 2.0, scale: 0.5, floor }),
        ScheduleSpec::Cyclic(Cyclic { up_steps: 5, down_steps: Some(6), floor: None, scale: 0.5 }),
    ]
}

#[test]
fn every_form_survives_the_wire() {
    for schedule in every_form() {
        let mut violations = Violations::new();
        assert_eq!(from_proto(to_proto(&schedule), &mut violations), schedule);
        assert!(violations.is_empty(), "{violations}");
    }
}

#[test]
fn every_shape_survives_the_wire() {
    let shapes = [
        Shape::Linear,
        Shape::Cosine,
        Shape::CosinePower(2.0),
        Shape::Poly(3.0),
        Shape::Power(0.5),
        Shape::OneMinusSqrt,
        Shape::Exp(0.1),
        Shape::Tanh { lower: -1.0, upper: 2.0 },
        Shape::Log(5.0),
    ];
    for shape in shapes {
        let mut violations = Violations::new();
        assert_eq!(shape::from_proto(Some(shape::to_proto(shape)), &mut violations), Some(shape));
        assert!(violations.is_empty());
    }
}

#[test]
fn defaults_are_written_out() {
    let ScheduleSpec::Ease(ease) = read(r#"{"ease": {"over": 10}}"#) else { panic!("not an ease") };
    assert_eq!((ease.start, ease.end), (ScheduleSpec::Base(1.0), ScheduleSpec::Constant(0.0)));
    assert_eq!((ease.shape, ease.past, ease.warp), (Shape::Linear, Past::Hold, 1.0));
    let ScheduleSpec::OneCycle(cycle) = read(r#"{"one_cycle": {}}"#) else { panic!("not a cycle") };
    assert_eq!((cycle.pct_start, cycle.div_factor, cycle.final_div_factor), (0.3, 25.0, 1e4));
    assert_eq!(cycle.shape, Shape::Cosine);
    let ScheduleSpec::Wsd(wsd) = read(r#"{"wsd": {"decay_steps": 5}}"#) else { panic!("not a wsd") };
    assert_eq!(wsd.shape, Shape::Power(0.5));
    let ScheduleSpec::Warmup(warmup) = read(r#"{"warmup": {"warmup_steps": 5}}"#) else { panic!("not a warmup") };
    assert_eq!(warmup.schedule, ScheduleSpec::Base(1.0));
}

#[test]
fn a_missing_part_is_named_by_its_path() {
    assert_eq!(wrong("{}"), [""]);
    assert_eq!(wrong(r#"{"stair": {"every": 2}}"#), ["stair.schedule"]);
    assert_eq!(wrong(r#"{"repeat": {"first": 2, "limit": -1}}"#), ["repeat.body", "repeat.limit"]);
    assert_eq!(wrong(r#"{"seq": {"parts": [{"base": 1}, {}]}}"#), ["seq.parts[1]"]);
    assert_eq!(
        wrong(r#"{"clamp": {"schedule": {"shift": {}}, "min": {}}}"#),
        ["clamp.schedule.shift.schedule", "clamp.min"]
    );
    assert_eq!(wrong(r#"{"ease": {"over": 1, "shape": {}}}"#), ["ease.shape"]);
}

#[test]
fn a_number_out_of_range_is_named_by_its_path() {
    assert_eq!(wrong(r#"{"multi_step": {"milestones": [1, -1]}}"#), ["multi_step.milestones[1]"]);
    assert_eq!(wrong(r#"{"step": {}}"#), ["step.step_size"]);
    assert_eq!(
        wrong(r#"{"warmup": {"warmup_steps": -1, "schedule": {"cosine": {"decay_steps": 0}}}}"#),
        ["warmup.warmup_steps", "warmup.schedule.cosine.decay_steps"]
    );
    assert_eq!(wrong(r#"{"cyclic": {"up_steps": 0, "down_steps": 0}}"#), ["cyclic.up_steps", "cyclic.down_steps"]);
}
