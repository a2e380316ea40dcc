//! What an operator does about a refusal: the command to type, or whom to turn to.

use std::net::IpAddr;

use crate::denial::{Denial, Fault, Reason};
use crate::id::{AgentName, Kid, RoleName, Sid};
use crate::statement::explain::Supposed;
use crate::time::{Seconds, Timestamp};

/// Whom and what it is about.
pub(super) struct Subject {
    pub(super) agent: AgentName,
    pub(super) role: RoleName,
    /// Whether there is such a role.
    pub(super) role_known: bool,
    /// Its newest key, where it is known, and that key's number.
    pub(super) key: Option<(Kid, u64)>,
    /// The life, the session and the address of the question, as far as it said them.
    ttl: Seconds,
    sid: Option<Sid>,
    from: Option<IpAddr>,
    /// Whether the backend was asked.
    probe: bool,
}

impl Subject {
    pub(super) fn of(supposed: &Supposed) -> Subject {
        let Supposed { agent, role, ttl, sid, from, probe, .. } = supposed.clone();
        Subject { agent, role, role_known: true, key: None, ttl, sid, from, probe }
    }
}

pub(super) fn remedy(denial: &Denial, subject: &Subject) -> String {
    let Subject { agent, role, role_known, key, .. } = subject;
    let anew = |terms: &str| {
        format!("vaultctl revoke {agent} {role} (its leases end), then vaultctl grant {agent} {role} {terms}")
    };
    match denial.reason {
        Reason::Unauthenticated => {
            format!("vaultctl keygen --agent {agent}, then vaultctl agent register {agent}.register")
        }
        Reason::KeyRetired => {
            let old = key.as_ref().map_or_else(|| "KID/KVER".to_owned(), |(kid, kver)| format!("{kid}/{kver}"));
            format!(
                "where the agent runs: vaultctl keygen --agent {agent} --follows {old} --dir next, then vaultctl agent rotate \
                 {agent} next/{agent}.register"
            )
        }
        Reason::Stale => "sign again; after a reset of the clock wait until one window has passed".to_owned(),
        Reason::VaultFrozen => "vaultctl thaw --everything".to_owned(),
        Reason::AgentFrozen => format!("vaultctl thaw {agent}"),
        Reason::RoleFrozen => format!("vaultctl thaw --role {role}"),
        Reason::SessionEnded => "the agent opens another session under a new name".to_owned(),
        Reason::NoGrant if *role_known => format!("vaultctl grant {agent} {role} --ttl 15m"),
        Reason::NoGrant => format!("vaultctl role create {role} ..., then vaultctl grant {agent} {role} --ttl 15m"),
        Reason::GrantExpired => {
            let until = denial.limit.map(|until| format!(" (it ended {})", Timestamp(until))).unwrap_or_default();
            format!("{}{until}", anew("--ttl 15m --until TIME"))
        }
        Reason::GrantExhausted => anew("--ttl 15m --max-uses N"),
        Reason::SessionNotGranted => format!("ask in a session that the grant names, or {}", {
            let sid = subject.sid.as_ref().map_or("PATTERN", Sid::as_str);
            anew(&format!("--ttl 15m --session {sid}"))
        }),
        Reason::AddressNotGranted => format!("ask from a network that the grant names, or {}", {
            let from = subject.from.map_or_else(|| "CIDR".to_owned(), |from| from.to_string());
            anew(&format!("--ttl 15m --from {from}"))
        }),
        Reason::TtlExceedsGrant => {
            let most = Seconds(denial.limit.unwrap_or_default());
            let (usual, wished) = (most.min(Seconds(900)), subject.ttl.max(most));
            format!("ask for at most {most}, or {}", anew(&format!("--ttl {usual} --max-ttl {wished}")))
        }
        Reason::TtlExceedsSession => {
            format!("ask for at most {}, or in a new session", Seconds(denial.limit.unwrap_or_default()))
        }
        Reason::RateLimited => format!("wait {}", Seconds(denial.limit.unwrap_or(1))),
        Reason::NoncesFull => "wait; or raise nonces_per_key under [limits]".to_owned(),
        Reason::SessionLimit => {
            format!("let it close a session, or vaultctl freeze --session {agent}/SID; or raise sessions_per_agent")
        }
        Reason::LeaseLimit => format!(
            "let it release a lease, or vaultctl lease list --agent {agent} and vaultctl revoke --lease ID; or raise \
             leases_per_agent under [limits]"
        ),
        Reason::ParamsRefused => {
            format!("vaultctl role show {role} says what its engine is; leave the params out or mend them")
        }
        Reason::ClockBehind => {
            "set the daemon's clock right; if it was ahead before, then vaultctl clock reset".to_owned()
        }
        Reason::Quarantined => format!("vaultctl audit verify {agent}; restore the store from a backup"),
        Reason::SecretMissing => format!("vaultctl role show {role} names the secret; vaultctl secret put stores it"),
        Reason::SecretExpired => {
            format!("vaultctl role show {role} names the secret; vaultctl secret put stores a new value")
        }
        Reason::EngineUnavailable | Reason::EngineRefused if subject.probe => {
            "look at the backend; the check says what it answered".to_owned()
        }
        Reason::EngineUnavailable | Reason::EngineRefused => {
            format!("vaultctl explain {agent} {role} --probe says what the backend answers; look at the backend")
        }
        Reason::BadRole => format!("vaultctl role show {role}; this daemon does not serve its engine or configuration"),
        Reason::AuditUnavailable => "vaultctl doctor; most likely the disk is full".to_owned(),
        reason if reason.fault() == Fault::Vault => "vaultctl doctor".to_owned(),
        reason => reason.advice().to_owned(),
    }
}
