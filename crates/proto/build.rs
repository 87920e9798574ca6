//! Compiles `proto/` without protoc: messages, services, their canonical JSON and the descriptors.

use std::{
    collections::BTreeSet,
    env, error, fs,
    path::{Path, PathBuf},
};

use prost_reflect::{DescriptorPool, Kind};
use protox::Compiler;

const PROTOS: &str = "../../proto";
const PACKAGE: &str = "lrs.v1";

fn main() -> Result<(), Box<dyn error::Error>> {
    println!("cargo:rerun-if-changed={PROTOS}");
    let mut compiler = Compiler::new([PROTOS])?;
    compiler.include_imports(true).include_source_info(true).open_files(protos()?)?;
    // Encoded by the compiler, because the structs for descriptors drop our own options.
    let encoded = compiler.encode_file_descriptor_set();
    #[expect(clippy::disallowed_methods, reason = "this is how cargo tells a build script where to write")]
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    fs::write(out_dir.join("lrs.v1.descriptors.bin"), &encoded)?;
    fs::write(out_dir.join("lrs.v1.codecs.rs"), codecs(&compiler.descriptor_pool()))?;

    let mut config = prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(".")
        .compile_fds_with_config(compiler.file_descriptor_set(), config)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .btree_map(["."])
        .build(&[".lrs.v1"])?;
    Ok(())
}

/// Every file of the package, in a fixed order.
fn protos() -> Result<BTreeSet<PathBuf>, Box<dyn error::Error>> {
    let folder = PACKAGE.replace('.', "/");
    let entries = fs::read_dir(Path::new(PROTOS).join(&folder))?;
    let names = entries.map(|entry| Ok(Path::new(&folder).join(entry?.file_name())));
    names.collect()
}

/// A match from the name of every message that a method takes or answers, or that a request holds, to its codec.
fn codecs(pool: &DescriptorPool) -> String {
    let mut names = BTreeSet::new();
    for method in pool.services().flat_map(|service| service.methods().collect::<Vec<_>>()) {
        names.extend([method.input(), method.output()].map(|message| message.full_name().to_owned()));
        for field in method.input().fields().filter(|field| !field.is_list() && !field.is_map()) {
            if let Kind::Message(message) = field.kind() {
                names.insert(message.full_name().to_owned());
            }
        }
    }
    let arms = names.iter().filter_map(|name| {
        let path = match name.rsplit_once('.')? {
            (PACKAGE, message) => format!("crate::{message}"),
            ("google.protobuf", message @ "Empty") => format!("pbjson_types::{message}"),
            _ => return None,
        };
        Some(format!("    {name:?} => Some(Codec::of::<{path}>({name:?})),\n"))
    });
    format!("match full_name {{\n{}    _ => None,\n}}\n", arms.collect::<String>())
}
