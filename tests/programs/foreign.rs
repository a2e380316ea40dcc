//! Programs in other languages that tests run, with what they stand on. `.ci/deps` puts it there; what is missing is
//! fetched here, by one test at a time.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::{program, said};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// Holds other tests off while something is fetched.
pub fn alone() -> fs::File {
    let target = Path::new(ROOT).join("target");
    fs::create_dir_all(&target).expect("a folder of ours");
    let lock = fs::File::create(target.join("foreign.lock")).expect("a file of ours");
    lock.lock().expect("the system can lock files");
    lock
}

/// A Python that has what the agent and the verifier need, and the folder with the stubs. The Python of
/// `NOCKVAULT_PYTHON` is taken where it is complete, or the environment in `target/python`.
static PYTHON: LazyLock<(PathBuf, PathBuf)> = LazyLock::new(|| {
    let _alone = alone();
    let root = Path::new(ROOT);
    let venv = root.join("target/python");
    let own = venv.join("bin/python");
    let python = std::env::var_os("NOCKVAULT_PYTHON").map_or_else(|| own.clone(), PathBuf::from);
    let imports = "import grpc, grpc_tools, google.protobuf, cryptography, jwt, rfc8785, flit_core, mypy";
    let complete = Command::new(&python).args(["-c", imports]).output().is_ok_and(|output| output.status.success());
    if !complete {
        said(Command::new("python3").args(["-m", "venv"]).arg(&venv)).ok();
        // Not `bin/pip`, whose first line still names the folder that the environment was copied from.
        let mut pip = Command::new(&own);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check"]);
        for file in
            ["examples/python/requirements.txt", "tests/verifiers/requirements.txt", "tests/sdk/requirements.txt"]
        {
            pip.arg("-r").arg(root.join(file));
        }
        said(&mut pip).ok();
    }
    let python = if complete { python } else { own };

    let stubs = Path::new(env!("CARGO_TARGET_TMPDIR")).join("python-stubs");
    fs::create_dir_all(&stubs).expect("a folder of ours");
    let mut protoc = Command::new(&python);
    protoc.current_dir(root).args(["-m", "grpc_tools.protoc", "-I", "proto"]);
    for to in ["--python_out", "--grpc_python_out"] {
        protoc.arg(format!("{to}={}", stubs.display()));
    }
    said(protoc.args(["proto/nockvault/v1/envelope.proto", "proto/nockvault/v1/agent.proto"])).ok();
    (python, stubs)
});

/// The same Python, with the SDK of the Model Context Protocol.
static MCP: LazyLock<PathBuf> = LazyLock::new(|| {
    let python = PYTHON.0.clone();
    let _alone = alone();
    let has = || Command::new(&python).args(["-c", "import mcp"]).output().is_ok_and(|output| output.status.success());
    if !has() {
        let mut pip = Command::new(&python);
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "-r"]);
        said(pip.arg(Path::new(ROOT).join("tests/mcp/requirements.txt"))).ok();
        assert!(has(), "{} does not hold mcp; run .ci/deps", python.display());
    }
    python
});

/// Where Node finds `jose`: `target/node`.
static NODE: LazyLock<PathBuf> = LazyLock::new(|| {
    let _alone = alone();
    let root = Path::new(ROOT);
    let modules = root.join("target/node/node_modules");
    let finds = |modules: &Path| {
        let mut node = Command::new("node");
        node.env("NODE_PATH", modules).args(["-e", "require.resolve('jose')"]);
        node.output().is_ok_and(|output| output.status.success())
    };
    if !finds(&modules) {
        let folder = root.join("target/node");
        fs::create_dir_all(&folder).expect("a folder of ours");
        fs::copy(root.join("tests/verifiers/package.json"), folder.join("package.json")).expect("both are ours");
        let mut npm = Command::new("npm");
        said(npm.current_dir(&folder).args(["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock"]))
            .ok();
        assert!(finds(&modules), "{} does not hold jose; run .ci/deps", modules.display());
    }
    modules
});

/// The Python itself.
pub fn interpreter() -> &'static Path {
    &PYTHON.0
}

/// Python in `folder`, which finds the example's agent and the generated stubs.
pub fn python(folder: &Path) -> Command {
    let (python, stubs) = &*PYTHON;
    let mut command = program(python, folder);
    let path = std::env::join_paths([stubs.as_path(), &Path::new(ROOT).join("examples/python")]);
    command.env("PYTHONPATH", path.expect("no path of ours holds a colon")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// Python in `folder`, which finds the SDK of the Model Context Protocol.
pub fn mcp(folder: &Path) -> Command {
    program(&*MCP, folder)
}

/// Node in `folder`, which finds `jose`. Where the system's own is too old for that, the tests have one of theirs.
pub fn node(folder: &Path) -> Command {
    let own = NODE.join("node/bin/node");
    let node = if own.is_file() { own.display().to_string() } else { "node".to_owned() };
    let mut command = program(&node, folder);
    command.env("NODE_PATH", &*NODE);
    command
}
