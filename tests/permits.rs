//! What may be had, held against a second, smaller answer to the same question: a list of rules, each a line, read from
//! the top. It knows nothing of how the vault decides. Over random grants, requests and times, with more of them at the
//! edges than chance would give, both say the same; and by itself: without a grant nothing, and no life that is longer
//! than the grant, its end or the session.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::net::IpAddr;
use std::sync::LazyLock;

use nockvault::authn::{self, SessionBound};
use nockvault::authz::{Asked, Peer, Permit, explain, permit, prolong};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::hpke::{SUITE, SealSecretKey};
use nockvault::denial::Reason;
use nockvault::entropy::SeededEntropy;
use nockvault::grant::{Grant, Role, Uses};
use nockvault::id::{AgentName, LeaseId, RoleName, Sid};
use nockvault::lease::{Lease, State};
use nockvault::statement::grant::{Rate, Terms};
use nockvault::statement::reply::Revocation;
use nockvault::statement::session::Seal;
use nockvault::time::{Seconds, Timestamp};
use proptest::collection::vec;
use proptest::option;
use proptest::prelude::*;
use serde_json::{Map, Value, json};

const NOW: u64 = 1_780_000_000_000;

fn bound() -> SessionBound {
    static SEAL: LazyLock<Seal> = LazyLock::new(|| {
        let secret = SealSecretKey::generate(&SeededEntropy::new(1));
        Seal { pk: secret.public().into(), suite: SUITE.to_owned(), sig_pk: None }
    });
    authn::bind(None, Some(&SEAL), Timestamp(NOW), Seconds(60)).unwrap()
}

/// Everything that decides, in few values each, so that they meet.
#[derive(Clone, Debug)]
struct World {
    agent: &'static str,
    sid: String,
    role: &'static str,
    ttl: u64,
    peer: Option<&'static str>,
    session_ends: u64,
    grant: Option<Given>,
    of_role: Option<(&'static str, bool)>,
    used: u64,
}

/// A grant.
#[derive(Clone, Debug)]
struct Given {
    agent: &'static str,
    role: &'static str,
    ttl: u64,
    max_ttl: u64,
    max_uses: Option<u64>,
    until: Option<u64>,
    session: Option<String>,
    from: Vec<&'static str>,
}

/// Spans of milliseconds whose edges matter, and around them.
fn moment() -> impl Strategy<Value = u64> {
    let edge = prop_oneof![Just(0i64), Just(1_000), Just(59_000), Just(60_000), Just(61_000), Just(120_000)];
    let near = prop_oneof![Just(-1i64), Just(0), Just(1), Just(999)];
    let usual = (edge, near).prop_map(|(edge, near)| NOW.saturating_add_signed(edge + near));
    prop_oneof![9 => usual, 1 => prop_oneof![Just(0), Just(u64::MAX), any::<u64>()]]
}

fn span() -> impl Strategy<Value = u64> {
    prop_oneof![9 => prop_oneof![Just(1u64), Just(59), Just(60), Just(61), Just(119), Just(120), Just(121)],
                1 => prop_oneof![Just(u64::MAX / 1000), Just(u64::MAX), any::<u64>()]]
}

const PEERS: [&str; 8] =
    ["10.0.0.1", "10.1.2.3", "11.0.0.1", "192.0.2.7", "127.0.0.1", "::1", "2001:db8::7", "::ffff:10.0.0.1"];
const NETWORKS: [&str; 9] = [
    "10.0.0.0/8",
    "10.1.0.0/16",
    "10.1.2.3/32",
    "192.0.2.6/31",
    "127.0.0.0/8",
    "0.0.0.0/0",
    "::/0",
    "2001:db8::/32",
    "::1/128",
];

fn one_of(words: &'static [&'static str]) -> impl Strategy<Value = &'static str> {
    (0..words.len()).prop_map(move |index| words[index])
}

fn given() -> impl Strategy<Value = Given> {
    // Mostly the agent and the role that are asked about.
    let agent = prop_oneof![9 => Just("kit"), 1 => Just("ada")];
    let role = prop_oneof![9 => Just("orders"), 1 => Just("orders/read")];
    let terms = (span(), span(), option::of(1u64..4), option::of(moment()));
    (agent, role, terms, option::of("[ab*]{1,5}"), vec(one_of(&NETWORKS), 0..3)).prop_map(
        |(agent, role, (ttl, max_ttl, max_uses, until), session, from)| Given {
            agent,
            role,
            ttl: ttl.min(max_ttl),
            max_ttl,
            max_uses,
            until,
            session,
            from,
        },
    )
}

fn world() -> impl Strategy<Value = World> {
    let ttl = prop_oneof![Just(0u64), span()];
    let of_role = option::weighted(0.95, (prop_oneof![9 => Just("orders"), 1 => Just("orders/read")], any::<bool>()));
    // Frozen only now and then.
    let of_role = (of_role, 0..8u8).prop_map(|(role, dice)| role.map(|(name, frozen)| (name, frozen && dice == 0)));
    let asked = ("[ab]{1,5}", ttl, option::weighted(0.8, one_of(&PEERS)), moment());
    (asked, option::weighted(0.95, given()), of_role, 0..5u64).prop_map(
        |((sid, ttl, peer, session_ends), grant, of_role, used)| World {
            agent: "kit",
            sid,
            role: "orders",
            ttl,
            peer,
            session_ends,
            grant,
            of_role,
            used,
        },
    )
}

// --- the second answer

/// A pattern, letter by letter.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    match (pattern.first(), text.first()) {
        (None, end) => end.is_none(),
        (Some(b'*'), _) => (0..=text.len()).any(|skip| matches(&pattern[1..], &text[skip..])),
        (Some(letter), Some(other)) => letter == other && matches(&pattern[1..], &text[1..]),
        (Some(_), None) => false,
    }
}

/// An address as a family and a number.
fn number(address: IpAddr) -> (u32, u128) {
    match address {
        IpAddr::V4(four) => (32, u32::from(four).into()),
        // ::ffff:a.b.c.d is a.b.c.d.
        IpAddr::V6(six) if u128::from(six) >> 32 == 0xffff => (32, u128::from(six) & 0xffff_ffff),
        IpAddr::V6(six) => (128, six.into()),
    }
}

/// Bit by bit.
fn lies_in(address: &str, network: &str) -> bool {
    let (base, length) = network.split_once('/').unwrap();
    let ((family, address), (of, base)) = (number(address.parse().unwrap()), number(base.parse().unwrap()));
    let length: u32 = length.parse().unwrap();
    family == of && (0..length).all(|bit| (address >> (family - 1 - bit)) & 1 == (base >> (family - 1 - bit)) & 1)
}

/// In milliseconds; beyond the end of time is the end of time.
fn after(now: u64, seconds: u64) -> u64 {
    u64::try_from(u128::from(now) + u128::from(seconds) * 1000).unwrap_or(u64::MAX)
}

/// Whole seconds from `NOW` to then.
fn left(then: u64) -> u64 {
    then.saturating_sub(NOW) / 1000
}

/// Until when it may be had and how far it may be renewed, or why not.
fn answer(world: &World) -> Result<(u64, u64), Reason> {
    let (Some(grant), Some((role, frozen))) = (&world.grant, world.of_role) else { return Err(Reason::NoGrant) };
    let peer = world.peer.unwrap_or("127.0.0.1");
    let until = grant.until.unwrap_or(u64::MAX);
    let rules = [
        (grant.agent == world.agent && grant.role == world.role && role == world.role, Reason::NoGrant),
        (!frozen, Reason::RoleFrozen),
        (grant.until.is_none_or(|until| until > NOW), Reason::GrantExpired),
        (
            grant.session.as_ref().is_none_or(|pattern| matches(pattern.as_bytes(), world.sid.as_bytes())),
            Reason::SessionNotGranted,
        ),
        (grant.from.is_empty() || grant.from.iter().any(|net| lies_in(peer, net)), Reason::AddressNotGranted),
        (world.ttl <= grant.max_ttl, Reason::TtlExceedsGrant),
        (grant.until.is_none_or(|until| world.ttl <= left(until)), Reason::TtlExceedsGrant),
        (world.ttl <= left(world.session_ends), Reason::TtlExceedsSession),
        (grant.max_uses.is_none_or(|max| world.used < max), Reason::GrantExhausted),
    ];
    if let Some((_, reason)) = rules.into_iter().find(|(holds, _)| !holds) {
        return Err(reason);
    }
    let latest = after(NOW, grant.max_ttl).min(world.session_ends).min(until);
    let asked = if world.ttl == 0 { after(NOW, grant.ttl).min(latest) } else { after(NOW, world.ttl) };
    Ok((asked, latest))
}

// --- the vault's answer

/// The same, as the vault's own types.
struct Held {
    agent: AgentName,
    sid: Sid,
    role: RoleName,
    bound: SessionBound,
    grant: Option<Grant>,
    of_role: Option<Role>,
    uses: Uses,
}

fn terms(given: &Given) -> Terms {
    Terms {
        ttl: Seconds(given.ttl),
        max_ttl: Seconds(given.max_ttl),
        max_uses: given.max_uses,
        until: given.until.map(Timestamp),
        session: given.session.as_ref().map(|pattern| pattern.parse().unwrap()),
        from: given.from.iter().map(|network| network.parse().unwrap()).collect(),
        rate: None,
    }
}

impl Held {
    fn of(world: &World) -> Held {
        let grant = world.grant.as_ref().map(|given| Grant {
            agent: given.agent.parse().unwrap(),
            role: given.role.parse().unwrap(),
            terms: terms(given),
            seq: 7,
            since: Timestamp(NOW - 1),
        });
        let of_role = world.of_role.map(|(name, frozen)| Role {
            name: name.parse().unwrap(),
            engine: "kv".into(),
            config: Map::from_iter([("secret".to_owned(), json!("orders-db"))]),
            since: Timestamp(NOW - 2),
            frozen,
        });
        Held {
            agent: world.agent.parse().unwrap(),
            sid: world.sid.parse().unwrap(),
            role: world.role.parse().unwrap(),
            bound: bound(),
            grant,
            of_role,
            uses: Uses { count: world.used, paced: 0 },
        }
    }

    fn asked(&self, world: &World) -> Asked<'_> {
        Asked {
            agent: &self.agent,
            sid: &self.sid,
            bound: &self.bound,
            session_ends: Timestamp(world.session_ends),
            role: &self.role,
            ttl: Seconds(world.ttl),
            peer: world.peer.map_or(Peer::Unix(None), |peer| Peer::Tcp(peer.parse().unwrap())),
            req: Digest::of(b"the request"),
        }
    }
}

fn lease() -> LeaseId {
    LeaseId::new(NOW, [3; 10])
}

/// What a permit says is what was asked and granted, whatever the answer was made of.
fn says_what_was_asked(permit: &Permit, held: &Held) {
    assert_eq!((permit.agent(), permit.sid()), (&held.agent, &held.sid));
    assert_eq!((Some(permit.role()), permit.grant()), (held.of_role.as_ref(), 7));
    assert_eq!((permit.lease(), permit.req()), (&lease(), Digest::of(b"the request")));
    assert_eq!((permit.issued(), permit.uses().count), (Timestamp(NOW), held.uses.count + 1));
    assert_eq!(Some(permit.config()), held.of_role.as_ref().map(|role| &role.config));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8_000))]

    #[test]
    fn what_the_vault_permits_is_what_the_rules_say(world in world()) {
        let held = Held::of(&world);
        let asked = held.asked(&world);
        let (grant, role) = (held.grant.as_ref(), held.of_role.as_ref());
        let said = permit(&asked, grant, role, held.uses, &lease(), Timestamp(NOW));
        if let Ok(permit) = &said {
            says_what_was_asked(permit, &held);
        }
        let said = said.map(|permit| (permit.expires().0, permit.latest().0)).map_err(|denial| denial.reason);
        prop_assert_eq!(said, answer(&world));

        // Whoever asks why hears the same, and the first no among the checks is the reason.
        let judged = explain(&asked, grant, role, held.uses, Timestamp(NOW));
        let first = judged.into_iter().find_map(|one| one.outcome.err()).map(|denial| denial.reason);
        prop_assert_eq!(first, said.err());
    }

    /// Not by comparison, but by itself: no life beyond any of its bounds.
    #[test]
    fn no_life_is_longer_than_grant_end_or_session(world in world()) {
        let held = Held::of(&world);
        let said = permit(
            &held.asked(&world), held.grant.as_ref(), held.of_role.as_ref(), held.uses, &lease(), Timestamp(NOW),
        );
        let (Ok(permit), Some(grant)) = (said, &world.grant) else { return Ok(()) };
        prop_assert!(permit.expires() <= permit.latest());
        prop_assert!(permit.latest().0 <= world.session_ends);
        prop_assert!(permit.latest().0 <= after(NOW, grant.max_ttl));
        prop_assert!(grant.until.is_none_or(|until| permit.latest().0 <= until && until > NOW));
        prop_assert!(world.ttl == 0 || permit.expires().0 == after(NOW, world.ttl));
    }

    /// A renewal never reaches past the lease's own latest time, nor past the grant.
    #[test]
    fn what_is_prolonged_is_what_the_rules_say(
        world in world(),
        live in prop_oneof![9 => Just(State::Live), 1 => (0..State::ALL.len()).prop_map(|index| State::ALL[index])],
        expires in moment(),
        latest in moment(),
        renewable in prop::bool::weighted(0.9),
        seq in prop_oneof![9 => Just(7u64), 1 => Just(8)],
    ) {
        let held = Held::of(&world);
        // As it was made: it does not outlive its own latest time, nor the end of its grant.
        let until = world.grant.as_ref().and_then(|grant| grant.until).unwrap_or(u64::MAX);
        let expires = expires.min(latest).min(until);
        let lease = Lease {
            id: lease(),
            agent: held.agent.clone(),
            sid: held.sid.clone(),
            role: held.role.clone(),
            grant: seq,
            ..a_lease(live, expires, latest, renewable)
        };
        let asked = held.asked(&world);
        let said = prolong(&lease, held.grant.as_ref(), asked.peer, asked.ttl, Timestamp(NOW));
        let said = said.map(|then| then.0).map_err(|denial| (denial.reason, denial.limit));

        let peer = world.peer.unwrap_or("127.0.0.1");
        let rest = left(latest.min(until));
        let wanted = match &world.grant {
            _ if live != State::Live || expires <= NOW => Err((Reason::LeaseEnded, None)),
            _ if !renewable => Err((Reason::NotRenewable, None)),
            Some(grant) if seq == 7 => {
                let away = !grant.from.is_empty() && !grant.from.iter().any(|net| lies_in(peer, net));
                match () {
                    () if away => Err((Reason::AddressNotGranted, None)),
                    () if rest == 0 || world.ttl > rest => Err((Reason::TtlExceedsGrant, Some(rest))),
                    // Without a wish it is the grant's own life, and never less than there was.
                    () if world.ttl == 0 => Ok(after(NOW, grant.ttl).min(latest).min(until).max(expires)),
                    () => Ok(after(NOW, world.ttl)),
                }
            }
            _ => Err((Reason::NoGrant, None)),
        };
        prop_assert_eq!(said, wanted);
        prop_assert!(said.is_err() || said.is_ok_and(|then| then <= latest && then <= until));
    }
}

/// What else there is of a lease.
fn a_lease(state: State, expires: u64, latest: u64, renewable: bool) -> Lease {
    Lease {
        id: lease(),
        agent: "kit".parse().unwrap(),
        sid: "s".parse().unwrap(),
        role: "orders".parse().unwrap(),
        grant: 7,
        req: Digest::of(b"its request"),
        handle: "nv_kit_0".into(),
        issued: Timestamp(NOW - 3),
        expires: Timestamp(expires),
        latest: Timestamp(latest),
        renewable,
        revocation: Revocation::None,
        state,
        ended: None,
        undo: None,
    }
}

/// Whoever asks why is shown each check by name, what was found, and what that is held against.
#[test]
fn what_is_explained_is_what_was_found_beside_its_limit() {
    let rate = Rate { count: 3, per: Seconds(60) };
    let given = Given {
        agent: "kit",
        role: "orders",
        ttl: 30,
        max_ttl: 90,
        max_uses: Some(5),
        until: Some(NOW + 60_000),
        session: Some("a*".to_owned()),
        from: vec!["10.0.0.0/8"],
    };
    let world = World {
        agent: "kit",
        sid: "ab".to_owned(),
        role: "orders",
        ttl: 0,
        peer: Some("10.0.0.1"),
        session_ends: NOW + 45_000,
        grant: Some(given),
        of_role: Some(("orders", true)),
        used: 0,
    };
    let mut held = Held::of(&world);
    held.grant.as_mut().unwrap().terms.rate = Some(rate);
    for _ in 0..2 {
        held.uses = held.uses.one_more(Some(rate), Timestamp(NOW)).unwrap();
    }
    let shown = |held: &Held, world: &World| -> Vec<(&str, Value, Value, bool)> {
        let (grant, role) = (held.grant.as_ref(), held.of_role.as_ref());
        let judged = explain(&held.asked(world), grant, role, held.uses, Timestamp(NOW));
        judged.into_iter().map(|one| (one.check, one.found, one.limit, one.outcome.is_ok())).collect()
    };
    let wanted = |frozen: &'static str, ttl: u64, used: u64| {
        vec![
            ("grant", json!(7), Value::Null, true),
            ("role_thawed", json!(frozen), Value::Null, frozen == "thawed"),
            ("grant_until", json!(NOW), json!(NOW + 60_000), true),
            ("session_name", json!("ab"), json!("a*"), true),
            ("address", json!("10.0.0.1"), json!(["10.0.0.0/8"]), true),
            ("ttl", json!(ttl), json!(60), ttl <= 60),
            ("session_time", json!(ttl), json!(45), ttl <= 45),
            ("uses", json!(used), json!(5), used < 5),
            ("rate", json!(used), json!(rate.to_string()), used < 3),
        ]
    };
    assert_eq!(shown(&held, &world), wanted("frozen", 30, 2));
    held.of_role.as_mut().unwrap().frozen = false;
    held.uses = held.uses.one_more(Some(rate), Timestamp(NOW)).unwrap();
    assert_eq!(shown(&held, &World { ttl: 61, ..world.clone() }), wanted("thawed", 61, 3));
    // Without a grant there is nothing else to judge by.
    held.grant = None;
    assert_eq!(shown(&held, &world), [("grant", Value::Null, Value::Null, false)]);
}

/// A bucket that holds `count` uses and fills evenly in `per` seconds: what a rate means, told in another way. Its level
/// counts microseconds; a use costs the share of one.
struct Bucket {
    level: u64,
    full: u64,
    each: u64,
}

impl Bucket {
    fn of(rate: Rate) -> Bucket {
        let full = rate.per.0 * 1_000_000;
        Bucket { level: full, full, each: full / rate.count }
    }

    /// After so many milliseconds: whether one more is let through, or how many seconds to wait.
    fn ask(&mut self, waited: u64) -> Result<(), u64> {
        self.level = self.full.min(self.level + waited * 1000);
        match self.level.checked_sub(self.each) {
            Some(rest) => {
                self.level = rest;
                Ok(())
            }
            None => Err((self.each - self.level).div_ceil(1_000_000)),
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn a_rate_lets_through_what_a_bucket_holds(
        count in prop_oneof![Just(1u64), Just(2), Just(3), Just(5), Just(10)],
        minutes in 1u64..20,
        waits in vec(prop_oneof![Just(0u64), 1u64..2_000, 10_000u64..70_000, Just(600_000)], 1..200),
    ) {
        let rate = Rate { count, per: Seconds(minutes * 60) };
        let (mut bucket, mut uses, mut now) = (Bucket::of(rate), Uses::default(), NOW);
        let mut let_through = Vec::new();
        for waited in waits {
            now += waited;
            match uses.one_more(Some(rate), Timestamp(now)) {
                Ok(next) => {
                    prop_assert_eq!(bucket.ask(waited), Ok(()));
                    prop_assert_eq!(next.count, uses.count + 1);
                    uses = next;
                    let_through.push(now);
                }
                Err(wait) => {
                    prop_assert_eq!(bucket.ask(waited), Err(wait));
                    // Whoever waits as long as he is told comes in.
                    prop_assert!(uses.one_more(Some(rate), Timestamp(now + wait * 1000)).is_ok());
                }
            }
        }
        // In no window of the rate's time twice what it names or more.
        for first in &let_through {
            let within = let_through.iter().filter(|at| *at >= first && **at < first + rate.per.0 * 1000).count();
            prop_assert!(within as u64 <= 2 * count, "{} in one window", within);
        }
    }
}
