//! `docs/schedules.md` agrees with the code: its tables and plots are generated here and compared.
//!
//! `LRS_UPDATE_DOCS=1 cargo test --test laws schedule_docs` writes them anew.

use std::{collections::BTreeMap, fmt::Write as _, fs, path::Path, process::Command};

use lrs::rpc::convert;
use lrs_model::{
    library::LibraryCall,
    schedule::{LibrarySchedule, Unit},
    violation::Violations,
};
use lrs_schedule::{
    Training,
    compat::{self, Scheduler, Translation},
};
use serde_json::{Map, Value};

const PAGE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/schedules.md");
const BEGIN: &str = "<!-- generated: ";
const END: &str = "<!-- end of generated -->";
const TRAINING: Training = Training { total_steps: Some(1000), steps_per_epoch: Some(100), tokens_per_step: None };

fn object(text: &str) -> Map<String, Value> {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn translate(library: &str, scheduler: &str, params: Map<String, Value>) -> Result<Translation, String> {
    let call = LibraryCall { library: library.to_owned(), scheduler: scheduler.to_owned(), params };
    let mut violations = Violations::new();
    let translation =
        compat::translate(&LibrarySchedule { call, unit: Unit::Step, units_per_step: None }, TRAINING, &mut violations);
    translation.ok_or_else(|| violations.to_string())
}

/// The names of all arguments of a scheduler: the code lists them when it refuses an unknown one.
fn known_arguments(library: &str, scheduler: &str, mut params: Map<String, Value>) -> Vec<String> {
    params.insert("no such argument".to_owned(), Value::Null);
    let refused = translate(library, scheduler, params).expect_err("an argument that does not exist is refused");
    let (_, names) = refused.split_once("There are ").unwrap_or_default();
    names.split(", ").map(str::to_owned).filter(|name| !name.is_empty()).collect()
}

fn schedulers(library: &str) -> &'static [Scheduler] {
    compat::libraries().find(|(name, _)| *name == library).expect("a table is of a library").1
}

fn table(library: &str) -> String {
    let mut text = "| scheduler | example | other arguments and their defaults | the example in the algebra |\n|---|---|---|---|\n".to_owned();
    for Scheduler { name: scheduler, example, defaults, .. } in schedulers(library) {
        let (given, defaults) = (object(example), object(defaults));
        let translation = translate(library, scheduler, given.clone()).expect("an example is valid");
        let others: Vec<String> = known_arguments(library, scheduler, given.clone())
            .iter()
            .filter(|name| !given.contains_key(*name))
            .map(|name| defaults.get(name).map_or_else(|| format!("`{name}`"), |default| format!("`{name}={default}`")))
            .collect();
        let native = serde_json::to_string(&convert::schedule::to_proto(&translation.rate)).expect("JSON");
        // Writing to a string does not fail.
        let _ = writeln!(text, "| `{scheduler}` | `{example}` | {} | `{native}` |", others.join(", "));
    }
    text
}

/// The plot of the last YAML example in `page_before`.
fn plot(page_before: &str) -> String {
    let example = page_before.rsplit("```yaml\n").next().and_then(|rest| rest.split("```").next()).expect("an example");
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("example.yaml");
    let spec = format!("total_steps: 1000\ngroups: [{{base_lr: 1}}]\n{example}");
    fs::write(&path, spec).expect("an example can be written");
    let lrs = Command::new(env!("CARGO_BIN_EXE_lrs")).args(["preview", "--format", "chart", "-f"]).arg(&path).output();
    let output = lrs.expect("lrs runs");
    assert!(output.status.success(), "{example}\n{}", String::from_utf8_lossy(&output.stderr));
    format!("```text\n{}```\n", String::from_utf8(output.stdout).expect("text"))
}

/// The page with every generated block as it should be.
fn regenerated(page: &str) -> String {
    let (mut text, mut rest) = (String::new(), page);
    while let Some((before, after)) = rest.split_once(BEGIN) {
        text += before;
        let (what, after) = after.split_once(" -->\n").expect("a marker ends its line");
        let (_, after) = after.split_once(END).expect("a generated block has an end");
        let block = if what == "plot" { plot(&text) } else { table(what) };
        let _ = write!(text, "{BEGIN}{what} -->\n{block}{END}");
        rest = after;
    }
    text + rest
}

#[test]
fn the_page_is_what_the_code_says() {
    let page = fs::read_to_string(PAGE).unwrap();
    let now = regenerated(&page);
    #[expect(clippy::disallowed_methods, reason = "a choice of whoever runs this test, not a setting of the program")]
    let is_update = std::env::var("LRS_UPDATE_DOCS").is_ok();
    if is_update {
        fs::write(PAGE, &now).unwrap();
        return;
    }
    let differences: Vec<_> = page
        .lines()
        .zip(now.lines())
        .filter(|(old, new)| old != new)
        .map(|(old, new)| format!("- {old}\n+ {new}"))
        .take(20)
        .collect();
    assert!(
        page == now,
        "{} is stale; `LRS_UPDATE_DOCS=1 cargo test --test laws schedule_docs` refreshes it:\n{}",
        Path::new(PAGE).display(),
        differences.join("\n")
    );
}

#[test]
fn every_library_has_its_table() {
    let page = fs::read_to_string(PAGE).unwrap();
    for (library, _) in compat::libraries() {
        assert!(page.contains(&format!("{BEGIN}{library} -->")), "{library} has no table");
    }
}

#[test]
fn a_documented_default_is_the_one_that_an_argument_left_out_has() {
    let mut wrong = BTreeMap::new();
    let all = compat::libraries().flat_map(|(library, schedulers)| schedulers.iter().map(move |row| (library, row)));
    for (library, Scheduler { name: scheduler, example, defaults, .. }) in all {
        let given = object(example);
        let bare = translate(library, scheduler, given.clone());
        assert!(bare.is_ok(), "{library} {scheduler}: {bare:?}");
        for (name, default) in object(defaults) {
            let mut params = given.clone();
            params.insert(name.clone(), default);
            let written_out = translate(library, scheduler, params);
            if written_out != bare {
                wrong.insert((library, scheduler, name), written_out);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:#?}");
}
