//! `lrs job override`: the rate by hand.

use std::collections::BTreeMap;

use super::{Session, show};
use crate::cli::{
    failure::Failure,
    order::OrderArgs,
    output::FormatArgs,
    values::{Length, length, number},
};
use lrs_model::{spec::DEFAULT_GROUP, typed::refused};
use lrs_proto::{
    FixedRates, JobSpec, OverrideCleared, OverrideLearningRateRequest, RateOverride, lengths::Scale,
    override_learning_rate_request::Order, rate_override::Setting,
};

/// Set a job's learning rate by hand, or go back to its schedule
#[derive(Debug, clap::Args)]
#[command(after_help = "\
The rate changes at the first step that no trainer has been given yet. The schedule and the controllers continue in the
background.

Examples:
  lrs job override vision/cifar --factor 0.5 --until-step 5000 --reason 'the loss spikes'
  lrs job override vision/cifar --lr 0.01
  lrs job override vision/cifar --group head=0.01 --group backbone=0.001
  lrs job override vision/cifar --clear --reason 'back to the schedule'")]
pub struct Args {
    /// The job
    job: String,
    #[command(flatten)]
    setting: SettingArgs,
    /// First step that is no longer overridden, such as 5000 or 50ep
    #[arg(long, value_name = "N", conflicts_with = "clear", value_parser = length(1))]
    until_step: Option<Length>,
    #[command(flatten)]
    order: OrderArgs,
    #[command(flatten)]
    format: FormatArgs,
}

#[derive(Clone, Debug, clap::Args)]
#[group(required = true, multiple = false)]
struct SettingArgs {
    /// Learning rate of every parameter group
    #[arg(long, value_name = "RATE", value_parser = number)]
    lr: Option<f64>,
    /// Learning rate of one parameter group; may be given several times, the others keep their schedule
    #[arg(long = "group", value_name = "GROUP=RATE", value_parser = group_rate)]
    groups: Vec<(String, f64)>,
    /// Multiply the schedule's rates by this
    #[arg(long, value_parser = number)]
    factor: Option<f64>,
    /// Go back to the schedule
    #[arg(long)]
    clear: bool,
}

pub(super) async fn run(session: &Session, args: &Args) -> Result<(), Failure> {
    let name = session.name(&args.job)?;
    let spec = match (args.setting.lr, &args.until_step) {
        (None, None) => JobSpec::default(),
        _ => session.job(&name).await?.spec.unwrap_or_default(),
    };
    let until = args.until_step.as_ref().map(|step| step.in_steps(Scale::of(&spec))).transpose();
    let until = until.map_err(|problem| Failure::invalid(format!("--until-step: {problem}")))?;
    let request = OverrideLearningRateRequest {
        name: name.to_string(),
        order: Some(args.setting.order(&spec, until.map(u64::cast_signed))),
        reason: args.order.record.reason.clone(),
        author: args.order.record.author.clone(),
        request_id: args.order.request_id(),
    };
    let decision =
        session.server.call(async |mut service| service.override_learning_rate(request.clone()).await).await?;
    args.format.print(&decision, || {
        let from = show::from_step(decision.effective_step, decision.expected_time.as_ref());
        format!("{}: {}, {from}.\n{}", name, show::effect(&decision), show::sentences(&decision.warnings))
    })
}

impl SettingArgs {
    /// The order to send; `--lr` needs the names of the groups of `spec`.
    fn order(&self, spec: &JobSpec, end_step: Option<i64>) -> Order {
        let fixed = |learning_rates| Some(Setting::Fixed(FixedRates { learning_rates }));
        let setting = if let Some(rate) = self.lr {
            fixed(spec.groups.iter().map(|group| (group_name(&group.name), rate)).collect())
        } else if let Some(factor) = self.factor {
            Some(Setting::Factor(factor))
        } else {
            (!self.groups.is_empty()).then(|| fixed(self.groups.iter().cloned().collect::<BTreeMap<_, _>>())).flatten()
        };
        match setting {
            Some(setting) => Order::Set(RateOverride { setting: Some(setting), end_step }),
            None => Order::Clear(OverrideCleared {}),
        }
    }
}

fn group_name(name: &str) -> String {
    if name.is_empty() { DEFAULT_GROUP.to_owned() } else { name.to_owned() }
}

fn group_rate(text: &str) -> Result<(String, f64), String> {
    let (group, rate) = text.rsplit_once('=').ok_or_else(|| refused(text, "GROUP=RATE, such as head=0.01"))?;
    Ok((group.trim().to_owned(), number(rate).map_err(|problem| format!("the rate {problem}"))?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use lrs_proto::ParameterGroup;

    fn setting() -> SettingArgs {
        SettingArgs { lr: None, groups: Vec::new(), factor: None, clear: false }
    }

    fn fixed<const N: usize>(rates: [(&str, f64); N], end_step: Option<i64>) -> Order {
        let learning_rates = rates.into_iter().map(|(group, rate)| (group.to_owned(), rate)).collect();
        Order::Set(RateOverride { setting: Some(Setting::Fixed(FixedRates { learning_rates })), end_step })
    }

    #[test]
    fn one_rate_is_for_every_group() {
        let group = |name: &str| ParameterGroup { name: name.to_owned(), ..Default::default() };
        let lr = SettingArgs { lr: Some(0.01), ..setting() };
        let two = JobSpec { groups: vec![group("backbone"), group("head")], ..Default::default() };
        assert_eq!(lr.order(&two, Some(9)), fixed([("backbone", 0.01), ("head", 0.01)], Some(9)));
        let nameless = JobSpec { groups: vec![group("")], ..Default::default() };
        assert_eq!(lr.order(&nameless, None), fixed([(DEFAULT_GROUP, 0.01)], None));
    }

    #[test]
    fn each_way_of_setting_becomes_its_order() {
        let none = JobSpec::default();
        let groups = SettingArgs { groups: vec![("head".to_owned(), 0.5)], ..setting() };
        assert_eq!(groups.order(&none, None), fixed([("head", 0.5)], None));
        let factor = SettingArgs { factor: Some(0.5), ..setting() };
        let halved = RateOverride { setting: Some(Setting::Factor(0.5)), end_step: None };
        assert_eq!(factor.order(&none, None), Order::Set(halved));
        let clear = SettingArgs { clear: true, ..setting() };
        assert_eq!(clear.order(&none, None), Order::Clear(OverrideCleared {}));
    }

    #[test]
    fn a_group_rate_names_both() {
        assert_eq!(group_rate("head=1e-3"), Ok(("head".to_owned(), 1e-3)));
        assert!(group_rate("head").is_err());
        assert!(group_rate("head=fast").is_err());
    }
}
