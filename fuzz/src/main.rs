//! libFuzzer over one of the targets of `lrs::fuzz`, which `LRS_FUZZ_TARGET` names. See scripts/fuzz.sh.
#![no_main]

use std::sync::OnceLock;

use libfuzzer_sys::fuzz_target;

static TARGET: OnceLock<fn(&[u8])> = OnceLock::new();

fuzz_target!(
    init: {
        let name = std::env::var("LRS_FUZZ_TARGET").expect("LRS_FUZZ_TARGET names a target");
        let found = lrs::fuzz::TARGETS.iter().find(|target| target.name == name);
        let known: Vec<_> = lrs::fuzz::TARGETS.iter().map(|target| target.name).collect();
        let target = found.unwrap_or_else(|| panic!("there is no target {name}; there are: {known:?}"));
        let _ = TARGET.set(target.run);
    },
    |data: &[u8]| {
        if let Some(run) = TARGET.get() {
            run(data);
        }
    }
);
