//! What stands at the agent's side: what git, docker, kubectl and others ask, the rules of the proxy, redaction.

use std::fs;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use nockvault::launcher::adapters::docker;
use nockvault::launcher::adapters::git::Asked;
use nockvault::launcher::adapters::hosts::{Hosts, Place, is_loopback};
use nockvault::launcher::adapters::kube::Caller;
use nockvault::launcher::adapters::provide::{Wanted, ids};
use nockvault::launcher::delivery::{Slot, Variable};
use nockvault::launcher::proxy::Rules;
use serde_json::Value;

use super::operators::folder;
use super::redact::{Known, Needles, Redactor};

fn hosts() -> &'static Hosts {
    static HOSTS: OnceLock<Hosts> = OnceLock::new();
    HOSTS.get_or_init(|| {
        let text =
            "git.example=orders\nkit@git.example/team/repo=team\nlocalhost:8080=local\nregistry.example:5000=images\n";
        Hosts::read(text).expect("they are places")
    })
}

/// What a tool asks. A credential is given for a host that was written down alone, and in the clear on this machine alone.
pub(super) fn adapters(data: &[u8]) -> bool {
    let known = |place: &Place| hosts().iter().any(|one| one == place);
    let asked = Asked::read(data);
    let text = super::text(data);
    if let (Ok(asked), Some(text)) = (&asked, text)
        && let Ok(Some(place)) = asked.place(hosts())
    {
        let last = |name: &str| {
            text.lines().take_while(|line| !line.is_empty()).filter_map(|line| line.strip_prefix(name)).last()
        };
        let host = last("host=").expect("a place was found");
        let safe = last("protocol=") == Some("https") || is_loopback(host);
        assert!(known(place) && safe, "a credential goes to {host:?} in the clear");
        let host = host.to_ascii_lowercase();
        assert_eq!(host.strip_suffix(":443").unwrap_or(&host), place.host());
    }
    let Some(text) = text else { return asked.is_ok() };
    if let Some(place) = docker::place(text, hosts()) {
        assert!(known(place) && text.to_ascii_lowercase().contains(place.host()));
    }
    let provided = ids(data);
    let server = "https://k8s.example:6443".to_owned();
    let called = Caller::read(Some(text), std::slice::from_ref(&server));
    if called.is_ok() && !text.is_empty() {
        let info: Value = serde_json::from_str(text).unwrap_or_default();
        let named = info["spec"]["cluster"]["server"].as_str();
        assert!(named.is_none_or(|named| named.trim_end_matches('/') == server), "a token goes to another server");
    }
    for why in [asked.as_ref().err(), provided.as_ref().err(), called.as_ref().err()].into_iter().flatten() {
        super::told(why);
    }
    let (slot, wanted, variable) = (text.parse::<Slot>(), text.parse::<Wanted>(), text.parse::<Variable>());
    if let Ok(slot) = &slot {
        let member = slot.member.as_ref().map(|member| format!(":{member}")).unwrap_or_default();
        assert_eq!(format!("{}={}{member}", slot.variable, slot.role), text);
    }
    let places = Hosts::read(text);
    asked.is_ok()
        || provided.is_ok()
        || called.is_ok()
        || slot.is_ok()
        || wanted.is_ok()
        || variable.is_ok()
        || places.is_ok()
}

/// The rules of the proxy.
pub(super) fn rules(data: &[u8]) -> bool {
    let file = folder().join("rules.toml");
    fs::write(&file, data).expect("a temporary file");
    match Rules::read(&file) {
        Ok(rules) => {
            let roles = rules.roles();
            assert!(rules.wants().all(|want| roles.contains(&want.role)));
            true
        }
        Err(_) => false,
    }
}

/// Two lengths, a secret, and a text around it, which is cut: nothing of the secret is left in any of its writings, nothing
/// changes its place, and a stream cut anywhere reads as the whole does.
pub(super) fn redact(data: &[u8]) -> bool {
    let Some(([secret, cut], rest)) = data.split_first_chunk::<2>() else { return false };
    let Some((secret, text)) = rest.split_at_checked(usize::from(*secret % 64)) else { return false };
    let Ok(secret) = std::str::from_utf8(secret) else { return false };
    if secret.len() < 8 {
        return false;
    }
    let needles = Known::default().with([secret]);
    let (before, after) = text.split_at(text.len() / 2);
    for written in
        [text.to_vec()].into_iter().chain(writings(secret).map(|one| [before, one.as_bytes(), after].concat()))
    {
        let whole = needles.redacted(&written).unwrap_or_else(|| written.clone());
        assert_eq!(whole.len(), written.len(), "redaction moves what stands behind it");
        assert_eq!(in_pieces(&needles, &written, usize::from(*cut) + 1), whole, "a stream that is cut reads otherwise");
        for one in writings(secret).filter(|one| !meets_mark(one)) {
            let left = whole.windows(one.len()).any(|window| window == one.as_bytes());
            assert!(!left, "the secret is left as {one:?} in {:?}", String::from_utf8_lossy(&whole));
        }
    }
    true
}

/// Whether a mark and what stands beside it could be taken for the secret: it begins as a mark ends, or ends as one begins.
fn meets_mark(one: &str) -> bool {
    const MARK: &str = "[redacted]";
    let begins = |count: usize| one.starts_with(&MARK[count..]) || one.ends_with(&MARK[..count]);
    one.starts_with('*')
        || one.ends_with('*')
        || (1..MARK.len()).any(begins)
        || one.contains(MARK)
        || MARK.contains(one)
}

/// Some of the ways in which others write a secret.
fn writings(secret: &str) -> impl Iterator<Item = String> {
    let json = serde_json::to_string(secret).expect("a text is JSON");
    let percent = secret.bytes().map(|byte| format!("%{byte:02X}")).collect();
    let hex = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
    let html = secret.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;");
    [secret.to_owned(), json[1..json.len() - 1].to_owned(), percent, hex, html].into_iter()
}

fn in_pieces(needles: &Arc<Needles>, text: &[u8], size: usize) -> Vec<u8> {
    let mut redactor = Redactor::new(Arc::clone(needles));
    let mut out = Vec::new();
    for piece in text.chunks(size) {
        out.extend_from_slice(&redactor.push(Bytes::copy_from_slice(piece)));
    }
    out.extend_from_slice(&redactor.finish());
    out
}
