//! The image, the compose file and the chart say the same, and what they have run runs: their commands are taken out of
//! them and given to the real programs. No container is started here.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::Command;

use serde_json::Value;

use crate::house;
use crate::programs::{Said, Vault, program, said};

const HOME: &str = "/var/lib/nockvault";

fn text(name: &str) -> String {
    fs::read_to_string(house().join("deploy").join(name)).unwrap()
}

fn yaml(text: &str) -> Value {
    serde_saphyr::from_str(text).unwrap_or_else(|error| panic!("{error}\n{text}"))
}

/// What follows an instruction of the Dockerfile, the last where it stands several times.
fn instruction(name: &str) -> String {
    let file = text("Dockerfile").replace("\\\n", "");
    let found = file.lines().rev().find_map(|line| line.strip_prefix(name)?.strip_prefix(' ').map(str::to_owned));
    found.unwrap_or_else(|| panic!("no {name}"))
}

fn words(list: &Value) -> Vec<String> {
    list.as_array().unwrap().iter().map(|word| word.as_str().unwrap().to_owned()).collect()
}

/// Runs a command of an image in `folder`, which stands for the image's home.
fn run(folder: &Path, command: &[String]) -> Said {
    let bin = Path::new(env!("CARGO_BIN_EXE_vaultctl")).parent().unwrap();
    let path = format!("{}:{}", bin.display(), std::env::var("PATH").unwrap());
    let here = |word: &String| word.replace(HOME, folder.to_str().unwrap());
    let mut run: Command = program(&command[0], folder);
    said(run.args(command[1..].iter().map(here)).env("PATH", path))
}

#[test]
fn the_image_is_built_of_what_there_is_and_holds_nothing_secret() {
    let linted = said(program(house().join("target/python/bin/hadolint"), house()).arg("deploy/Dockerfile"));
    assert_eq!((linted.code, linted.out.as_str()), (0, ""), "{linted:?}");
    let (file, cargo) = (text("Dockerfile"), fs::read_to_string(house().join("Cargo.toml")).unwrap());
    for program in ["vaultd", "vaultctl", "vault-agent", "vault-verify"] {
        assert!(cargo.contains(&format!("[[bin]]\nname = \"{program}\"")), "{program}");
        assert!(file.contains(&format!("target/release/{program} ")), "{program} is not in the image");
    }
    let rust = file.lines().find_map(|line| line.strip_prefix("ARG RUST=")).unwrap();
    assert!(cargo.contains(&format!("rust-version = \"{rust}\"")), "{rust}");
    // Only what was built comes into the image, and no vault that lies beside the sources into the builder.
    let copied: Vec<&str> = file.lines().filter(|line| line.starts_with("COPY") || line.starts_with("ADD")).collect();
    assert_eq!(copied, ["COPY . .", "COPY --from=build /out/ /usr/local/bin/"]);
    let ignored = text("Dockerfile.dockerignore");
    let ignored: Vec<&str> = ignored.lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(ignored.first(), Some(&"*"));
    assert!(["**/*.key", "**/*.ed25519"].iter().all(|secret| ignored.contains(secret)));
    for kept in ignored.iter().filter_map(|line| line.strip_prefix('!')) {
        assert!(house().join(kept).exists(), "{kept} is not there");
    }
    assert_eq!(instruction("USER"), "10001:10001");
    assert_eq!(instruction("ENV"), format!("HOME={HOME}"));
}

#[test]
fn the_health_check_of_the_image_tells_whether_the_daemon_lives() {
    let mut vault = Vault::start();
    let address = vault.ready.split("http=http://").nth(1).unwrap().trim().to_owned();
    let check = instruction("HEALTHCHECK");
    let check: Value = serde_json::from_str(check.split("CMD ").nth(1).unwrap()).unwrap();
    let check: Vec<String> =
        words(&check).iter().map(|word| word.replace("127.0.0.1/8441", &address.replace(':', "/"))).collect();
    run(vault.path(), &check).ok();
    vault.kill();
    assert_ne!(run(vault.path(), &check).code, 0);
}

#[test]
fn the_compose_file_makes_a_vault_and_names_what_the_image_has() {
    let all = yaml(&text("compose.yaml"));
    let services = &all["services"];
    let home = tempfile::tempdir().unwrap();
    let [make] = &words(&services["init"]["command"])[..] else { panic!("one command: {}", services["init"]) };
    let mut shell = words(&services["init"]["entrypoint"]);
    shell.push(make.replace(HOME, home.path().to_str().unwrap()).replace(":844", ":0"));
    let shell: Vec<String> = shell.iter().map(|word| word.replace(":00", ":0").replace(":01", ":0")).collect();
    run(home.path(), &shell).ok();
    let config = words(&services["vaultd"]["command"])[1].replace(HOME, home.path().to_str().unwrap());
    assert_eq!(run(home.path(), &["vaultd".into(), "check-config".into(), config]).ok().lines().count(), 1);
    // Once more changes nothing.
    run(home.path(), &shell).ok();

    let published = words(&services["vaultd"]["ports"]);
    for port in instruction("EXPOSE").split(' ') {
        assert!(published.iter().any(|one| one.ends_with(&format!(":{port}"))), "{port}: {published:?}");
    }
    for ours in ["init", "vaultd", "agent"] {
        assert!(text("compose.yaml").contains(&format!("\n  {ours}:\n    <<: *walls\n")), "{ours}");
    }
    let walls = &all["x-walls"];
    assert_eq!((&walls["read_only"], &walls["cap_drop"][0]), (&Value::from(true), &Value::from("ALL")));
    let agent = words(&services["agent"]["command"]);
    let help = fs::read_to_string(house().join("tests/help/vault-agent.txt")).unwrap();
    assert_eq!(agent[0], "exec");
    for word in agent.iter().chain(services["agent"]["environment"].as_object().unwrap().keys()) {
        let known = !word.starts_with("--") && !word.starts_with("NOCKVAULT") || word == "--" || help.contains(word);
        assert!(known, "vault-agent knows no {word}");
    }
}

fn helm(arguments: &[&str]) -> String {
    said(program(house().join("target/helm/helm"), house()).args(arguments)).ok()
}

#[test]
fn the_chart_renders_makes_a_vault_and_names_what_the_image_has() {
    helm(&["lint", "--strict", "deploy/helm"]);
    let rendered = helm(&["template", "prod", "deploy/helm", "--kube-version", "1.30.0"]);
    let all: Vec<Value> = rendered.split("\n---\n").map(|part| yaml(part.trim_start_matches("---\n"))).collect();
    let kinds: Vec<&str> = all.iter().map(|one| one["kind"].as_str().unwrap()).collect();
    assert_eq!(kinds, ["NetworkPolicy", "Service", "StatefulSet"]);
    let pod = &all[2]["spec"]["template"]["spec"];
    let user = &pod["securityContext"]["runAsUser"];
    assert_eq!(format!("{user}:{user}"), instruction("USER"));
    let vaultd = &pod["containers"][0];
    let named: Vec<String> =
        vaultd["ports"].as_array().unwrap().iter().map(|port| port["containerPort"].to_string()).collect();
    assert_eq!(named.join(" "), instruction("EXPOSE"));
    assert_eq!(serde_json::to_string(&vaultd["args"]).unwrap().replace("\",\"", "\", \""), instruction("CMD"));
    for one in [vaultd, &pod["initContainers"][0]] {
        assert_eq!(one["securityContext"]["readOnlyRootFilesystem"], true);
        assert_eq!(one["volumeMounts"][0]["mountPath"], HOME);
    }

    let home = tempfile::tempdir().unwrap();
    let init = &pod["initContainers"][0];
    let mut command = words(&init["command"]);
    command.extend(words(&init["args"]));
    let command: Vec<String> = command
        .iter()
        .map(|word| word.replace(HOME, home.path().to_str().unwrap()).replace(":8440", ":0").replace(":8441", ":0"))
        .collect();
    run(home.path(), &command).ok();
    let config = words(&vaultd["args"])[1].replace(HOME, home.path().to_str().unwrap());
    run(home.path(), &["vaultd".into(), "check-config".into(), config]).ok();

    let vault = Vault::start();
    for probe in ["livenessProbe", "readinessProbe"] {
        let path = vaultd[probe]["httpGet"]["path"].as_str().unwrap();
        let address = vault.ready.split("http=http://").nth(1).unwrap().trim().to_owned();
        let mut stream = TcpStream::connect(address).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nHost: vault\r\nConnection: close\r\n\r\n").unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200"), "{path}: {answer}");
    }
}

/// The path of each value of a chart.
fn leaves(value: &Value, path: &str, found: &mut Vec<String>) {
    match value {
        Value::Object(members) if !members.is_empty() => {
            for (name, member) in members {
                leaves(member, &format!("{path}.{name}"), found);
            }
        }
        _ => found.push(path.to_owned()),
    }
}

#[test]
fn each_value_of_the_chart_is_used() {
    let mut templates = String::new();
    for file in fs::read_dir(house().join("deploy/helm/templates")).unwrap() {
        templates += &fs::read_to_string(file.unwrap().path()).unwrap();
    }
    let mut found = Vec::new();
    leaves(&yaml(&text("helm/values.yaml")), ".Values", &mut found);
    assert!(found.len() > 12, "{found:?}");
    for path in found {
        // A template may take a value with all that is in it.
        let parts: Vec<&str> = path.split('.').collect();
        let used = (3..=parts.len()).any(|length| {
            let name = parts[..length].join(".");
            templates.match_indices(&name).any(|(at, _)| {
                !templates[at + name.len()..].starts_with(|next: char| next.is_ascii_alphanumeric() || next == '.')
            })
        });
        assert!(used, "no template uses {path}");
    }
    let other = helm(&[
        "template",
        "x",
        "deploy/helm",
        "--kube-version",
        "1.30.0",
        "--set",
        "ports.agents=9440,vault.hosts={a,b}",
    ]);
    assert!(other.contains("containerPort: 9440") && other.contains("--host=b"), "{other}");
}
