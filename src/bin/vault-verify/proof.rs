//! `--proof`: the proof of one entry, without its chain.

use std::path::Path;

use anyhow::Context as _;
use nockvault::audit::proof::{Asked, MAX_BYTES, NotProved, Pins, Proved, verify};
use nockvault::audit::shown::printable;
use serde_json::{Value, json};

use super::known::Known;
use super::{Arguments, tell, text};

/// Verifies a proof, prints what it proves, and gives the exit code.
pub(super) fn run(arguments: &Arguments, known: &Known, path: &Path) -> anyhow::Result<u8> {
    let identity = known.vault.identity.clone().context(
        "a proof is verified with the vault's identity key; give --vault, or --identity with the public key",
    )?;
    let pins = Pins {
        vault: known.vault.vault.clone(),
        chain: arguments.chain.clone(),
        policy: known.chain.policy.clone(),
        holders: known.chain.holder_keys.clone(),
        directory: known.vault.directory.clone(),
        ..Pins::new(identity)
    };
    let text = text(path, MAX_BYTES)?;
    let found = verify(&text, &pins);
    tell(arguments.output, path, &for_people(&found), object(&found))?;
    Ok(match &found {
        Ok(proved) if proved.entry.is_ok() => 0,
        Err(why) if why.is_tampering() => 2,
        _ => 1,
    })
}

fn kind(proved: &Proved) -> String {
    match &proved.entry {
        Ok(entry) => entry.body.kind().to_owned(),
        Err(why) => why.to_string(),
    }
}

/// When each witness that did saw the checkpoint.
fn witnesses(proved: &Proved) -> Vec<(String, u64)> {
    let seen = proved.witnesses.iter().flat_map(|judgement| &judgement.witnesses);
    seen.filter_map(|(name, seen)| Some((name.clone(), seen.as_ref().ok().copied().flatten()?))).collect()
}

fn for_people(found: &Result<Proved, NotProved>) -> String {
    let proved = match found {
        Ok(proved) => proved,
        Err(why) if why.is_tampering() => return printable(&format!("TAMPERED: {why}")) + "\n",
        Err(why) => return printable(&format!("proves nothing: {why}")) + "\n",
    };
    let Proved { seq, ts, leaf, audit_key, asked, checkpoint, checkpoint_cert, .. } = proved;
    let verdict = if proved.entry.is_ok() { "proved" } else { "proved, but not understood" };
    let mut text = format!("{} entry {seq}: {verdict}\n", checkpoint.origin);
    let mut line = |said: String| {
        text.push_str("  ");
        text.push_str(&printable(&said));
        text.push('\n');
    };
    line(format!("{}, of {ts}, leaf {leaf}", kind(proved)));
    line("proved:".into());
    line(format!("- the vault wrote this entry: its audit key {audit_key}, certified by its identity key, signed it"));
    line(format!(
        "- it is number {seq} of the {} entries that the vault vouched for with its checkpoint key {}",
        checkpoint.size, checkpoint_cert.kid
    ));
    if let Asked::Signed(kid) = asked {
        line(format!("- the holder of the key {kid} signed the request in it"));
    }
    for (name, at) in witnesses(proved) {
        let at = nockvault::time::Timestamp(at.saturating_mul(1000));
        line(format!("- the witness {name} saw that checkpoint at {at}"));
    }
    line("not proved:".into());
    if let Asked::Claimed(kid) = asked {
        line(format!(
            "- WHO ASKED: the request in it names the key {kid}; give the holder's public key with --agent-key, or \
             --directory"
        ));
    }
    if proved.witnesses.is_none() {
        line("- that the vault shows everybody this history: ask witnesses with --witness-policy".into());
    }
    line(
        "- anything of the entries before and behind it, such as the grant it rests on, or whether it was revoked"
            .into(),
    );
    text
}

fn object(found: &Result<Proved, NotProved>) -> Value {
    let proved = match found {
        Ok(proved) => proved,
        Err(why) => {
            let is = if why.is_tampering() { "tampered" } else { "unusable" };
            return json!({"verdict": {"is": is, "how": why.to_string()}});
        }
    };
    let (asked, signed) = match &proved.asked {
        Asked::Nothing => (Value::Null, false),
        Asked::Claimed(kid) => (kid.as_str().into(), false),
        Asked::Signed(kid) => (kid.as_str().into(), true),
    };
    let seen = witnesses(proved).into_iter().map(|(name, at)| (name, at.into()));
    json!({
        "verdict": {"is": if proved.entry.is_ok() { "proved" } else { "not_understood" }},
        "origin": proved.checkpoint.origin,
        "seq": proved.seq,
        "ts": proved.ts,
        "kind": kind(proved),
        "leaf": proved.leaf,
        "audit_key": proved.audit_key,
        "asked_by": asked,
        "request_checked": signed,
        "checkpoint": {"size": proved.checkpoint.size, "root": proved.checkpoint.root, "kid": proved.checkpoint_cert.kid},
        "witnesses": seen.collect::<serde_json::Map<String, Value>>(),
    })
}
