//! The committed gRPC code is what `proto/` says: this test generates it anew, in Rust alone, and compares byte for
//! byte. After a change of the contract, `NOCKVAULT_REGENERATE=1 cargo test --test generated` writes it instead.

use std::fs;
use std::path::{Path, PathBuf};

use protox::prost::Message as _;

const PROTOS: [&str; 4] = [
    "nockvault/v1/envelope.proto",
    "nockvault/v1/agent.proto",
    "nockvault/v1/operator.proto",
    "nockvault/v1/custody.proto",
];
const RUST: &str = "nockvault.v1.rs";
const DESCRIPTORS: &str = "nockvault.v1.bin";

#[test]
fn committed_code_is_generated_from_the_contract() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let made = tempfile::tempdir().expect("a temporary folder");
    generate(&root.join("proto"), made.path());

    let committed = root.join("src/wire/gen");
    if std::env::var_os("NOCKVAULT_REGENERATE").is_some_and(|value| value == "1") {
        for name in [RUST, DESCRIPTORS] {
            fs::copy(made.path().join(name), committed.join(name)).expect("the generated file is copied");
        }
        return;
    }
    assert_eq!(names_in(made.path()), names_in(&committed), "src/wire/gen holds exactly what is generated");
    for name in [RUST, DESCRIPTORS] {
        let [ours, theirs] =
            [&committed, made.path()].map(|folder| fs::read(folder.join(name)).expect("it was listed"));
        // Not assert_eq: a difference would print both files.
        assert!(ours == theirs, "src/wire/gen/{name} is not what proto/ generates; NOCKVAULT_REGENERATE=1 writes it");
    }
}

#[test]
fn every_contract_file_is_generated_from() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("proto/nockvault/v1");
    let mut listed = PROTOS.map(|path| path.rsplit('/').next().expect("a path has a last part").to_owned());
    listed.sort();
    assert_eq!(names_in(&folder), listed);
}

/// Writes the Rust code and the descriptor set, as reflection serves it, into `out`.
fn generate(includes: &Path, out: &Path) {
    let mut compiler = protox::Compiler::new([includes]).expect("proto/ is a folder");
    compiler.include_source_info(true).include_imports(true);
    compiler.open_files(PROTOS).expect("the contract compiles");
    let mut descriptors = compiler.file_descriptor_set();

    tonic_prost_build::configure()
        .out_dir(out)
        .emit_rerun_if_changed(false)
        .client_mod_attribute(".", r#"#[cfg(feature = "client")]"#)
        .server_mod_attribute(".", r#"#[cfg(feature = "daemon")]"#)
        .compile_fds(descriptors.clone())
        .expect("the contract becomes Rust");

    // Comments become Rust docs; over reflection, names and types are enough.
    for file in &mut descriptors.file {
        file.source_code_info = None;
    }
    fs::write(out.join(DESCRIPTORS), descriptors.encode_to_vec()).expect("the descriptor set is written");
}

fn names_in(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap_or_else(|error| panic!("{}: {error}", folder.display()));
    let paths: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry of the folder").path()).collect();
    let mut names: Vec<String> =
        paths.iter().filter_map(|path| path.file_name()?.to_str().map(str::to_owned)).collect();
    names.sort();
    names
}
