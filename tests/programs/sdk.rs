//! The clients in other languages under `examples/`, built as their users build them, from copies below `target/`, so that
//! nothing is written beside the sources. What they stand on is put there by `.ci/deps`, or here where it is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::LazyLock;

use super::{foreign, program, said};

const ROOT: &str = env!("CARGO_MANIFEST_DIR");

/// The files of a folder and what is in them, without what tools leave behind.
fn files(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).into_iter().flatten() {
        let path = entry.expect("a folder of ours").path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if ["node_modules", "dist", "__pycache__", "package-lock.json"].contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path).into_iter().map(|(inner, text)| (Path::new(&name).join(inner), text)));
        } else {
            found.push((PathBuf::from(name), fs::read(&path).expect("a file of ours")));
        }
    }
    found.sort();
    found
}

/// Copies a folder of the sources, and says whether the copy differed before.
fn copied(from: &str, to: &Path) -> bool {
    let (wanted, there) = (files(&Path::new(ROOT).join(from)), files(to));
    if wanted == there {
        return false;
    }
    for (path, _) in there {
        fs::remove_file(to.join(path)).expect("a copy of ours");
    }
    for (path, text) in wanted {
        let path = to.join(path);
        fs::create_dir_all(path.parent().expect("it lies in a folder")).expect("a folder of ours");
        fs::write(path, text).expect("a copy of ours");
    }
    true
}

/// The Python package as pip installs it, without the network.
static PYTHON: LazyLock<PathBuf> = LazyLock::new(|| {
    let _alone = foreign::alone();
    let built = Path::new(env!("CARGO_TARGET_TMPDIR")).join("sdk-python");
    let (sources, installed) = (built.join("sources"), built.join("installed"));
    if copied("examples/python", &sources) || !installed.is_dir() {
        let _ = fs::remove_dir_all(&installed);
        let mut pip = Command::new(foreign::interpreter());
        pip.args(["-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-index", "--no-deps"]);
        said(pip.args(["--no-build-isolation", "--no-compile", "--target"]).args([&installed, &sources])).ok();
    }
    installed
});

/// Python in `folder`, which finds the installed package `nockvault`.
pub fn python(folder: &Path) -> Command {
    let mut command = program(foreign::interpreter(), folder);
    command.env("PYTHONPATH", &*PYTHON).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}

/// The TypeScript client as npm and tsc build it.
static NODE: LazyLock<PathBuf> = LazyLock::new(|| {
    let _alone = foreign::alone();
    let built = Path::new(ROOT).join("target/sdk-typescript");
    let changed = copied("examples/typescript", &built);
    let in_built = |program: &str| {
        let mut command = Command::new(program);
        command.current_dir(&built);
        command
    };
    if !built.join("node_modules/@grpc/grpc-js").is_dir() || !built.join("node_modules/typescript").is_dir() {
        let mut npm = in_built("npm");
        npm.args(["install", "--silent", "--no-audit", "--no-fund", "--no-package-lock", "--ignore-scripts"]);
        said(&mut npm).ok();
    }
    if changed || !built.join("dist/src/index.js").is_file() {
        let _ = fs::remove_dir_all(built.join("dist"));
        said(foreign::node(&built).arg("node_modules/typescript/bin/tsc")).ok();
    }
    built
});

/// Node in `folder`, with the folder of the built client in `NOCKVAULT_SDK`.
pub fn node(folder: &Path) -> Command {
    let mut command = foreign::node(folder);
    command.env("NOCKVAULT_SDK", &*NODE);
    command
}

/// Where Debian keeps the sources of `golang.org/x`.
const GO_SOURCES: &str = "/usr/share/gocode/src/golang.org/x";

/// The Go client as go builds it, without the network: what it stands on comes from the system's packages, or from the
/// module proxy where there are none.
static GO: LazyLock<PathBuf> = LazyLock::new(|| {
    let _alone = foreign::alone();
    let built = Path::new(ROOT).join("target/sdk-go");
    let changed = copied("examples/go", &built.join("sources"));
    let ask = fs::read(Path::new(ROOT).join("tests/sdk/ask.go")).expect("a file of ours");
    let (module, program) = (built.join("module"), built.join("module/ask/main.go"));
    if changed || fs::read(&program).ok().as_ref() != Some(&ask) || !built.join("ask").is_file() {
        copied("examples/go", &module);
        fs::create_dir_all(module.join("ask")).expect("a folder of ours");
        fs::write(&program, ask).expect("a file of ours");
        for name in ["crypto", "net", "sys", "text", "term"] {
            let sources = format!("{GO_SOURCES}/{name}");
            if Path::new(&sources).is_dir() {
                let replace = format!("-replace=golang.org/x/{name}={sources}");
                said(go_in(&built, &module).args(["mod", "edit", &replace])).ok();
            }
        }
        said(go_in(&built, &module).args(["vet", "./..."])).ok();
        said(go_in(&built, &module).args(["build", "-o", "../ask", "./ask"])).ok();
    }
    built
});

fn go_in(built: &Path, module: &Path) -> Command {
    let mut command = program("go", module);
    command.env("GOCACHE", built.join("cache")).env("GOPATH", built.join("path")).env("GOFLAGS", "-mod=mod");
    if Path::new(GO_SOURCES).is_dir() {
        command.env("GOPROXY", "off");
    }
    command
}

/// Go, in the module of the client.
pub fn go_test() -> Command {
    let mut command = go_in(&GO, &GO.join("module"));
    command.arg("test");
    command
}

/// The program out of `tests/sdk/ask.go`, in `folder`.
pub fn go(folder: &Path) -> Command {
    program(GO.join("ask"), folder)
}
