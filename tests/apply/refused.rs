//! What the vault could not become is found before anything is sent, each with its place in the file and what to do.

use std::fs;

use super::stage::Stage;
use super::{KIT, grant};

#[test]
fn what_cannot_be_is_said_with_its_place_and_nothing_is_sent() {
    let stage = Stage::with_agents(&["kit", "mara", "my.bot", "my-bot"]);
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"15m\"")));
    stage.apply(&[]).ok();
    let path = |name: &str| stage.vault.path().join(name);
    // The second key of an agent, and one of another vault.
    let (first, next) = (path("mara.ed25519"), path("next"));
    assert!(first.exists());
    stage.vaultctl(&["keygen", "--agent", "mara", "--dir", "next", "--follows", "mara.register"]).ok();
    assert!(next.join("mara.register").exists());
    stage.vaultctl(&["keygen", "--agent", "kit", "--dir", "other"]).ok();
    let other = Stage::with_agents(&["zoe"]);
    fs::copy(other.vault.path().join("zoe.register"), path("zoe.register")).unwrap();

    let kv = |name: &str, secret: &str| format!("[roles.{name}]\nengine = \"kv\"\nconfig.secret = \"{secret}\"\n");
    let agent = |name: &str, file: &str| format!("[agents.\"{name}\"]\nregister = \"{file}\"\n");
    let before = stage.commands().len();
    for (text, wanted) in [
        // Roles are never changed.
        (
            kv("orders", "other-db"),
            "vault.toml:1:8: role orders is there already and differs in secret (\"orders-db\" in the vault, \"other-db\" in the file)",
        ),
        (kv("orders", "orders-db") + "config.version = 1\n", "differs in version (none in the vault, 1 in the file)"),
        (
            "[roles.orders]\nengine = \"jwt\"\n".into(),
            "differs in engine (kv in the vault, jwt in the file), secret (\"orders-db\" in the vault, none in the file)",
        ),
        (
            "[roles.order]\n".into(),
            "vault.toml:1:8: role order is not there, and the file does not say of what engine it is; did you mean orders?",
        ),
        // What the engine does not take, and what it needs.
        (kv("new", "orders-db").replace("kv", "kvv"), "vault.toml:1:8: role new: it would not work"),
        (kv("new", "none"), "vault.toml:1:8: role new: it would not work"),
        (kv("new", "orders-db").replace("secret", "secrt"), "vault.toml:1:8: role new: it would not work"),
        (
            "secrets = [\"orders-dv\"]\n".into(),
            "vault.toml:1:12: no secret orders-dv is stored; did you mean orders-db?",
        ),
        ("secrets = [\"zebra\"]\n".into(), "vaultctl secret put zebra makes it"),
        // Agents are no other agents, and a file gives none another key.
        ("[agents.kti]\n".into(), "vault.toml:1:9: agent kti is not registered and has no register = \"kti.register\""),
        (agent("kit", "other/kit.register"), "agent kit is registered with other keys than"),
        (agent("kit", "mara.register"), "mara.register is of agent mara, not of agent kit"),
        (
            agent("mara", "next/mara.register"),
            "agent mara is not registered, and this is its key number 2, not its first",
        ),
        (agent("zoe", "zoe.register"), "zoe.register is for the vault nv1:"),
        (
            agent("my.bot", "my.bot.register") + &agent("my-bot", "my-bot.register"),
            "differs from agent my-bot only in . and -",
        ),
        (agent("mara", "mara.ed25519"), "mara.ed25519"),
    ] {
        stage.write(&text);
        for words in [&[][..], &["--dry-run"]] {
            let told = stage.apply(words).fails(1);
            assert!(told.contains(wanted) && told.contains("nothing was sent"), "{text}: {told}");
        }
    }
    let missing = stage.vaultctl(&["apply", "-f", "missing.toml"]).fails(1);
    assert!(missing.contains("missing.toml"), "{missing}");
    assert_eq!(stage.commands().len(), before);
    assert_eq!(stage.grants(), ["kit orders"]);
}

#[test]
fn a_key_that_was_rotated_and_a_freeze_are_left_as_they_are() {
    let stage = Stage::with_agents(&["kit"]);
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"15m\"")));
    stage.apply(&[]).ok();
    // The file still has the statement of the first key.
    stage.vaultctl(&["keygen", "--agent", "kit", "--dir", "next", "--follows", "kit.register"]).ok();
    stage.vaultctl(&["agent", "register", "next/kit.register"]).ok();
    stage.vaultctl(&["freeze", "kit"]).ok();
    let told = stage.apply(&[]);
    assert!(told.code == 0 && told.err.contains("agent kit is frozen and stays so; vaultctl thaw kit"), "{told:?}");
    assert_eq!(stage.vaultctl(&["agent", "list", "--field", "frozen"]).ok(), "true\n");
    // A grant whose time is over is not given, and not a difference for ever.
    stage.vaultctl(&["revoke", "kit", "orders"]).ok();
    stage.write(&(KIT.to_owned() + &grant("kit", "orders", "ttl = \"15m\"\nuntil = \"2020-01-01\"")));
    let told = stage.apply(&[]);
    assert!(told.code == 0 && told.err.contains("ended at 2020-01-02T00:00:00.000Z and is not given"), "{told:?}");
}
