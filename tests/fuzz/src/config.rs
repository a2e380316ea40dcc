//! The daemon's configuration, and the addresses that stand in it.

use std::path::Path;

use nockvault::config::Config;
use nockvault::follow::{places, syslog};

/// A configuration is taken whole or told line by line; so are the addresses by themselves.
pub(super) fn config(data: &[u8]) -> bool {
    let Some(text) = super::text(data) else { return false };
    let place = text.parse::<places::Place>().map(|place| place.to_string());
    if let Ok(written) = &place {
        assert!(!written.contains('?'), "the query of an address is shown");
    }
    if let Ok(target) = text.parse::<syslog::Target>() {
        assert_eq!(target.to_string(), text);
    }
    match Config::parse(text, Path::new("/etc/nockvault/vaultd.toml")) {
        Ok(config) => {
            let _ = config.vault_limits();
            true
        }
        Err(faults) => {
            let lines = text.matches('\n').count() + 1;
            assert!(!faults.faults.is_empty() && faults.faults.iter().all(|fault| (1..=lines).contains(&fault.line)));
            false
        }
    }
}
