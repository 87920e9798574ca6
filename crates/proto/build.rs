//! Compiles `proto/` without protoc: messages, services, their canonical JSON and the descriptors for reflection.

use std::{env, path::PathBuf};

use prost::Message as _;

const PROTOS: &str = "../../proto";

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed={PROTOS}");
    let files = [
        "lrs/v1/job_service.proto",
        "lrs/v1/learning_rate_service.proto",
        "lrs/v1/report_service.proto",
        "lrs/v1/schedule_service.proto",
    ];
    let descriptors = protox::compile(files, [PROTOS])?;
    let encoded = descriptors.encode_to_vec();
    #[expect(clippy::disallowed_methods, reason = "this is how cargo tells a build script where to write")]
    let out_dir = PathBuf::from(env::var("OUT_DIR")?);
    std::fs::write(out_dir.join("lrs.v1.descriptors.bin"), &encoded)?;

    let mut config = prost_build::Config::new();
    config.enable_type_names();
    tonic_prost_build::configure()
        .compile_well_known_types(true)
        .extern_path(".google.protobuf", "::pbjson_types")
        .btree_map(".")
        .compile_fds_with_config(descriptors, config)?;
    pbjson_build::Builder::new()
        .register_descriptors(&encoded)?
        .preserve_proto_field_names()
        .btree_map(["."])
        .build(&[".lrs.v1"])?;
    Ok(())
}
