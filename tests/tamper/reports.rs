//! What an auditor reads: the whole report of chains as they can be, each with what may be known of it from elsewhere. It
//! stands in `tests/tamper/reports.txt` for people to review, as the verdict on every bad file stands in `verdicts.txt`;
//! `NOCKVAULT_REGENERATE=1` writes them anew.

use std::sync::Arc;

use nockvault::audit::checkpoint::Checkpoint;
use nockvault::audit::directory::open_at_any_time;
use nockvault::audit::entry::{self, By};
use nockvault::audit::policy::Policy;
use nockvault::audit::verify::operators::Commands;
use nockvault::audit::verify::report::Report;
use nockvault::audit::verify::{Pins, verify, verify_operators};
use nockvault::crypto::envelope::{Envelope, PayloadType};
use nockvault::crypto::hash::{Digest, leaf};
use nockvault::crypto::signature::{Form, SigningKey};
use nockvault::id::{ChainName, LeaseId, RoleName, handle};
use nockvault::statement::agent::{AgentFreeze, AgentThaw};
use nockvault::statement::custody::Kind;
use nockvault::statement::directory::{Directory, ListedKey};
use nockvault::statement::grant::{GrantRevoke, Terms};
use nockvault::statement::issue::Issue;
use nockvault::statement::lease::{LeaseForget, Release, Renew};
use nockvault::statement::operator::{Duty, OperatorKeyEnd, OperatorList, OperatorRotate};
use nockvault::statement::register::Holder;
use nockvault::statement::request::Seen;
use nockvault::statement::role::RoleCreate;
use nockvault::statement::rotate_key::RotateKey;
use nockvault::statement::session::{Close, Hello};
use nockvault::time::{Seconds, Timestamp};
use serde_json::{Map, Value};

use crate::backends::undone;
use crate::cases::{receipt, sealed};
use crate::checkpoints::{kept, pinned, vouch_for_operators};
use crate::daemons::{Told, said, vault};
use crate::files::{begins, cosigned, listed, note, witness};
use crate::operators::{carried_by, hire, put_out, signed_by};
use crate::parts::keys;
use crate::restores::restored;
use crate::world::{START, TTL, World, copy, file, kit};

/// What is verified, and its report.
type Scene = (&'static str, Report);

fn of(bytes: &[u8], pins: &Pins) -> Report {
    verify(bytes, pins).unwrap()
}

fn commands(world: &World) -> Option<Arc<Commands>> {
    verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap().1.map(Arc::new)
}

fn directory(world: &World, change: impl FnOnce(&mut Vec<ListedKey>)) -> Directory {
    open_at_any_time(&listed(world, change), &world.identity.public()).unwrap()
}

/// Everything that a reader may know of a world.
fn all(world: &World) -> Pins {
    let kids = keys(&world.kit.lines).iter().map(|key| key.kid()).collect();
    Pins {
        operators: commands(world),
        agent_keys: kids,
        heads: vec![world.kit.head.seen()],
        directory: Some(Arc::new(directory(world, |_| {}))),
        ..pinned(world, kept(world, 6, None))
    }
}

/// Chains of one agent, whole, with more or less known of them.
fn agents() -> Vec<Scene> {
    let world = World::whole(1);
    let whole = world.kit.file();
    let witnessed = nockvault::audit::verify::Kept::read(&cosigned(&note(&world, 6))).unwrap();
    let policy = |text: &str| Policy::read(text.as_bytes()).ok();
    let asked = Pins { policy: policy(&witness().1), ..pinned(&world, witnessed.clone()) };
    let unasked = Pins { policy: policy("quorum none\n"), ..pinned(&world, witnessed) };
    let nameless = Some(Arc::new(directory(&world, |_| {}).nameless()));
    let mut early = directory(&world, |keys| keys.truncate(1));
    early.iat = Timestamp(START.0 + 3000);
    let early = Some(Arc::new(early));
    let mut received = World::at_work(12);
    let mut issue = received.next_issue();
    issue.sealed = sealed().2;
    received.put(issue);
    let answer = receipt(&received, |_| {});
    let unsigned = nockvault::audit::receipt::Receipt { cert: None, ..answer.clone() };
    let two = Pins { receipts: vec![answer, unsigned], heads: vec![received.kit.head.seen()], ..received.pins() };
    let age = |world: &World, seconds| Pins {
        max_age: Some((world.now.plus(Seconds(61)), Seconds(seconds))),
        ..world.pins()
    };
    let alone = World::new(2);
    vec![
        ("nothing is known", of(&whole, &Pins::default())),
        ("everything is known", of(&whole, &all(&world))),
        ("a policy asks for witnesses", of(&whole, &asked)),
        ("a policy asks for none", of(&whole, &unasked)),
        ("a directory without names", of(&whole, &Pins { directory: nameless, ..world.pins() })),
        ("a directory of before", of(&whole, &Pins { directory: early, ..world.pins() })),
        ("an answer, and the same without its certificate", of(&received.kit.file(), &two)),
        ("one entry", of(&alone.kit.file(), &alone.pins())),
        ("as old as it may be", of(&alone.kit.file(), &age(&alone, 61))),
        ("older than it may be", of(&alone.kit.file(), &age(&alone, 60))),
        ("another chain than was asked for", {
            of(&alone.kit.file(), &Pins { chain: Some("mira".parse().unwrap()), ..alone.pins() })
        }),
        ("no file at all", of(b"", &Pins::default())),
        ("no chain", of(b"{}\n", &Pins::default())),
    ]
}

/// What is open at the end of a chain.
fn open_ends() -> Vec<Scene> {
    let told = |change: fn(&mut World)| {
        let mut world = World::at_work(3);
        change(&mut world);
        of(&world.kit.file(), &world.pins())
    };
    let claimed = |count: usize| {
        let mut world = World::at_work(9);
        for _ in 0..count {
            let fork = Seen { head: Digest::of(b"fork"), size: 2 };
            let request = world.ask_as(world.wish(), |common| common.seen = fork);
            world.put(entry::Deny { handle: None, lease: None, reason: "history_mismatch".into(), request });
        }
        of(&world.kit.file(), &world.pins())
    };
    let mut passed_over = World::at_work(1);
    let role = || "orders-read".parse().unwrap();
    passed_over.command(GrantRevoke { agent: "kit".parse().unwrap(), role: role() });
    passed_over.obtain();
    let pins = Pins { operators: commands(&passed_over), ..passed_over.pins() };
    let commanded = |change: fn(&mut World)| {
        let mut world = World::at_work(5);
        change(&mut world);
        of(&world.kit.file(), &Pins { operators: commands(&world), ..world.pins() })
    };
    vec![
        (
            "frozen, and thawed",
            commanded(|world| {
                let by = world.command(AgentFreeze { agent: "kit".parse().unwrap(), reason: None });
                world.put(entry::Freeze { by });
                let by = world.command(AgentThaw { agent: "kit".parse().unwrap() });
                world.put(entry::Thaw { by });
                world.obtain();
            }),
        ),
        ("a credential of an engine that leaves something", {
            let (mut world, role) = (World::new(5), "orders-read".parse::<RoleName>().unwrap());
            world.command(RoleCreate { role, engine: "postgres".into(), config: Map::new() });
            world.give(crate::world::terms());
            world.hello();
            world.obtain_at_backend();
            of(&world.kit.file(), &Pins { operators: commands(&world), ..world.pins() })
        }),
        (
            "as long as asked and granted, to the millisecond",
            told(|world| {
                world.ungrant();
                let (first, second) = (world.now.plus(Seconds(2)), world.now.plus(Seconds(3)));
                let until = Some(second.plus(TTL));
                world.give(Terms { ttl: Seconds(60), max_ttl: TTL, until, ..crate::world::terms() });
                let given = |world: &mut World, at: Timestamp, ttl: Seconds, life: Seconds| {
                    let mut issue = world.issue(world.ask(Issue { ttl, ..world.wish() }));
                    (issue.hdr.iat, issue.hdr.exp) = (at, at.plus(life));
                    world.put(issue);
                };
                given(world, first.plus(Seconds(1)), TTL, TTL);
                let lease = world.lease();
                given(world, second.plus(Seconds(1)), Seconds(0), Seconds(60));
                let at = world.now.plus(Seconds(1));
                let ttl = Seconds(second.plus(TTL).since(at).0);
                let request = world.ask(Renew { lease: world.lease(), ttl });
                world.put(entry::Renew { exp: at.plus(ttl), lease: world.lease(), request });
                world.release(&lease);
            }),
        ),
        (
            "sessions with something at a backend, of which one was closed",
            told(|world| {
                world.obtain_at_backend();
                world.sid = "nightly-8";
                world.hello();
                let gone = world.obtain_at_backend();
                world.obtain_at_backend();
                world.close();
                undone(world, &gone);
            }),
        ),
        (
            "given back by the request that made it",
            told(|world| {
                let request = world.ask(Release::Req(world.last_issue().hdr.req));
                world.put(entry::Release { lease: world.lease(), request });
            }),
        ),
        (
            "run out to the millisecond",
            told(|world| {
                let (lease, exp) = (world.lease(), world.last_issue().hdr.exp);
                world.now = exp.minus(Seconds(1));
                world.put(entry::Expire { lease, outcome: "none".into() });
            }),
        ),
        (
            "refused, whatever was asked",
            told(|world| {
                let next = world.register(kit(), &SigningKey::generate(&world.entropy), Some((&copy(&world.agent), 1)));
                let lease = world.lease();
                let requests = [
                    world.ask(Hello { seal: world.seal.clone() }),
                    world.ask(Renew { lease: lease.clone(), ttl: TTL }),
                    world.ask(Release::Lease(lease)),
                    world.ask(Close {}),
                    world.ask(RotateKey { new: next }),
                ];
                for request in requests {
                    world.put(entry::Deny { handle: None, lease: None, reason: "frozen".into(), request });
                }
            }),
        ),
        (
            "an intent of a key that ended before it, by a clock that was put back",
            told(|world| {
                let then = world.now;
                world.now = then.plus(Seconds(7200));
                let (request, lease) = (world.ask(world.wish()), LeaseId::new(then.0, [7; 10]));
                let by = By { chain: ChainName::operators(), leaf: Digest::of(b"reset"), seq: 9 };
                world.now = then;
                world.put(entry::ClockReset { by });
                world.end_key();
                let handle = Some(handle(&"kit".parse().unwrap(), &lease));
                world.put(entry::Deny { handle, lease: Some(lease), reason: "interrupted".into(), request });
            }),
        ),
        ("a lease lives", told(|_| {})),
        (
            "of two leases one ran out",
            told(|world| {
                world.now = world.now.plus(TTL);
                world.obtain();
            }),
        ),
        (
            "a credential is left at its backend",
            told(|world| {
                let lease = world.obtain_at_backend();
                world.release(&lease);
            }),
        ),
        (
            "two are left, and one was given up",
            told(|world| {
                for _ in 0..3 {
                    let lease = world.obtain_at_backend();
                    world.release(&lease);
                }
                let given_up = LeaseId::new(world.now.0, [6; 10]);
                world.abandon(&given_up, &handle(&"kit".parse().unwrap(), &given_up));
                let by = world.command(LeaseForget { lease: given_up.clone() });
                world.put(entry::Forget { by, lease: given_up });
            }),
        ),
        ("a claim of another history", claimed(1)),
        ("many of them", claimed(23)),
        ("a command was passed over", of(&passed_over.kit.file(), &pins)),
        ("a lost key was replaced, and its end is in doubt", told(World::replace_lost_key)),
    ]
}

/// Files that give out before their end.
fn broken() -> Vec<Scene> {
    let world = World::at_work(10);
    let bytes = world.kit.file();
    let unknown = |change: fn(&mut Value), more: bool| {
        let mut world = World::at_work(11);
        let key = copy(&world.stolen);
        world.rewrite(&key, change);
        if more {
            world.put(entry::SessionEnd { by: None, reason: "idle".into(), sid: world.sid.parse().unwrap() });
        }
        of(&world.kit.file(), &world.pins())
    };
    let held = Pins { heads: vec![world.kit.head.seen()], ..world.pins() };
    let otherwise = |count: usize| {
        let mut world = World::at_work(11);
        for _ in 0..count {
            let line = b"{\"v\":2}".to_vec();
            let head = &mut world.kit.head;
            (head.size, head.leaf) = (head.size + 1, leaf(&line));
            head.tree.push(leaf(&line));
            world.kit.lines.push(line);
        }
        world.put(entry::SessionEnd { by: None, reason: "idle".into(), sid: world.sid.parse().unwrap() });
        of(&world.kit.file(), &world.pins())
    };
    vec![
        ("torn", of(&bytes[..bytes.len() - 20], &held)),
        ("without its last LF", of(&bytes[..bytes.len() - 1], &world.pins())),
        ("an unknown kind", unknown(|entry| entry["kind"] = "rebuild".into(), true)),
        ("an unknown kind behind another origin", {
            unknown(|entry| (entry["kind"], entry["origin"]) = ("rebuild".into(), "prod/kit~1".into()), false)
        }),
        ("an unknown version", unknown(|entry| entry["v"] = 2.into(), true)),
        ("a version that is laid out otherwise, which a later entry names", otherwise(1)),
        ("two of them", otherwise(2)),
        ("an unknown version at the end", unknown(|entry| entry["v"] = 2.into(), false)),
    ]
}

/// Parts of a chain.
fn parts() -> Vec<Scene> {
    let world = World::whole(30);
    let begin = begins(&world);
    let part = file(&world.kit.lines[begin..]);
    let bare = || Pins { since_checkpoint: true, ..world.pins() };
    let named = || Some(Arc::new(directory(&world, |_| {})));
    let nameless = Some(Arc::new(directory(&world, |_| {}).nameless()));
    let held = Pins {
        holder_keys: keys(&world.kit.lines),
        heads: vec![world.kit.head.seen()],
        operators: commands(&world),
        ..bare()
    };
    vec![
        ("a part", of(&part, &bare())),
        ("a part with the agent's keys and the commands", of(&part, &held)),
        ("a part in which what was before goes on and ends", {
            let mut world = World::at_work(7);
            let (renewed, undone) = (world.lease(), world.obtain_at_backend());
            world.release(&undone);
            world.vouch();
            let begin = world.kit.lines.len() - 1;
            world.renew(&renewed, TTL);
            world.release(&renewed);
            world.put(entry::Undone { lease: undone, outcome: "revoked".into(), tries: 0 });
            of(&file(&world.kit.lines[begin..]), &crate::parts::pins(&world))
        }),
        ("a part, and a request in view of what stands before it", {
            let mut world = World::at_work(7);
            let seen = world.kit.head.seen();
            world.obtain();
            world.vouch();
            let begin = world.kit.lines.len() - 1;
            let request = world.ask_as(world.wish(), |common| common.seen = seen);
            let issue = world.issue(request);
            world.put(issue);
            of(&file(&world.kit.lines[begin..]), &crate::parts::pins(&world))
        }),
        ("a part with another history before it than a checkpoint that its own key signed", {
            let other = kept(&world, begin, Some(Digest::of(b"fork")));
            of(&part, &Pins { checkpoints: vec![other], ..bare() })
        }),
        ("a part with a directory", of(&part, &Pins { directory: named(), ..bare() })),
        ("a part with a directory without names", of(&part, &Pins { directory: nameless, ..bare() })),
    ]
}

/// Parts of `_operators`.
fn parts_of_operators() -> Vec<Scene> {
    let mut world = World::at_work(4);
    let begin = vouch_for_operators(&mut world);
    world.give(crate::world::terms());
    let part = file(&world.operators.lines[begin..]);
    let of_operators = |part: &[u8], pins: &Pins| verify_operators(part, pins).unwrap();
    let since = Pins { since_checkpoint: true, ..world.pins() };
    let held = Pins { holder_keys: vec![world.operator.public()], ..since.clone() };
    let mut scenes = vec![
        ("a part of _operators", of_operators(&part, &since).0),
        ("a part of _operators with the key", of_operators(&part, &held).0),
        ("a command of before the part of _operators that is known", {
            let commands = of_operators(&part, &since).1.map(Arc::new);
            of(&world.kit.file(), &Pins { operators: commands, ..world.pins() })
        }),
    ];
    // An operator whom the part registers, and who stands in the directory for that.
    let joe = hire(&mut world, "joe", Duty::Auditor);
    let signed = signed_by(&world, "joe", &joe, &OperatorList {});
    world.order(entry::Command::carried(signed, Map::new()));
    let listed = |name: &str, key: &SigningKey, since: Timestamp| {
        let operator = Some(name.parse().unwrap());
        let (kid, pk, form, kver) = (key.kid(), key.public(), Form::Pae, Some(1));
        ListedKey { agent: None, ended: None, form, grace: None, kid, kver, operator, pk, since }
    };
    let operators = vec![listed("ada", &world.operator, START), listed("joe", &joe, world.now)];
    let directory = Some(Arc::new(Directory { operators, ..directory(&world, |_| {}) }));
    let part = file(&world.operators.lines[begin..]);
    scenes.push(("a part of _operators with a directory", of_operators(&part, &Pins { directory, ..since }).0));
    scenes
}

/// `_operators` and `_vault`.
fn vaults() -> Vec<Scene> {
    let world = World::whole(1);
    let made = |kind: Option<Kind>, told: bool| {
        let mut world = World::at_work(1);
        let key = SigningKey::generate(&world.entropy);
        let mut made = crate::custody::zoe(&world, &key);
        if let Some(kind) = kind {
            (made.kind, made.shares) = (kind, Vec::new());
        }
        if told {
            crate::custody::appointed(&mut world, &made, "ops", &["file", "ops"]);
        }
        world.operators.put(&world.audit, &made.into(), world.now);
        let signed = signed_by(&world, "zoe", &key, &OperatorList {});
        world.order(entry::Command::carried(signed, Map::new()));
        verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap().0
    };
    let later = |duty: Duty| {
        let mut world = World::at_work(1);
        let joe = hire(&mut world, "joe", duty);
        let mut payload = signed_by(&world, "joe", &joe, &OperatorList {}).payload;
        payload["typ"] = "nockvault/later".into();
        let signed = Envelope::sign(PayloadType::Command, &payload, &joe, Form::Pae).embed().unwrap();
        world.order(entry::Command::carried(signed, Map::new()));
        verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap().0
    };
    let told = |told: &[Told], freeze: bool, ignored: bool| {
        let (mut chain, mut world) = vault(told);
        if freeze {
            let by = world.command_of("nockvault/vault_freeze");
            chain.put(&world.audit, &entry::VaultFreeze { by }.into(), world.now);
        }
        if ignored {
            world.command_of("nockvault/vault_freeze");
        }
        of(&chain.file(), &Pins { operators: commands(&world), ..world.pins() })
    };
    use Told::{Config, Recover, Restore, Start, StartWithout, Stop};
    vec![
        ("_operators", verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap().0),
        ("an operator was put out, of whom a key was ended before", {
            let mut world = World::at_work(1);
            let (first, next) = (hire(&mut world, "joe", Duty::Auditor), SigningKey::generate(&world.entropy));
            let joe = || "joe".parse().unwrap();
            let register = world.register(Holder::Operator(joe()), &next, Some((&first, 1)));
            carried_by(&mut world, "joe", &first, &OperatorRotate { register });
            let kid = Some(first.kid());
            let end = world.signed_command(&OperatorKeyEnd { operator: joe(), kid, suspect_from: None });
            let result = serde_json::json!({ "kids": [first.kid()] });
            world.order(entry::Command::carried(end, result.as_object().cloned().unwrap()));
            put_out(&mut world, "joe", &next);
            verify_operators(world.operators.file().as_slice(), &world.pins()).unwrap().0
        }),
        ("a command of a later version, by an admin", later(Duty::Admin)),
        ("a command of a later version, by an auditor", later(Duty::Auditor)),
        ("an operator whom shares made", made(None, false)),
        ("an operator whom the shares of a custodian made that was told", made(None, true)),
        ("an operator whom a file made", made(Some(Kind::File), false)),
        ("a daemon began and ended", told(&[Start, Config, Stop], false, false)),
        ("two began, one after one that was broken off", told(&[Start, Config, Start, Recover(2)], false, false)),
        ("everything is frozen", told(&[Start], true, false)),
        ("the command to freeze everything was passed over", told(&[Start], true, true)),
        ("_vault was restored", {
            let (chain, world) = vault(&[Start, Config, Restore(2), StartWithout, Recover(3), Stop]);
            of(&chain.file(), &world.pins())
        }),
        ("a part of _vault, in which a daemon says what it found", {
            let (mut chain, world) = vault(&[Start, Config]);
            let note = Checkpoint::of(&chain.head.origin, &chain.head.tree);
            let checkpoint = crate::checkpoints::of(&world, &note, chain.head.tree.peaks().to_vec());
            let begin = chain.lines.len();
            chain.put(&world.audit, &checkpoint.into(), world.now);
            let recover = entry::Recover { interrupted: 0, quarantined: Vec::new(), since: world.now };
            chain.put(&world.audit, &recover.into(), world.now);
            of(&file(&chain.lines[begin..]), &Pins { since_checkpoint: true, ..world.pins() })
        }),
        ("_vault was restored by a command that is not known", told(&[Start, Restore(2)], false, false)),
    ]
}

/// A vault that was restored from a backup, and one whose clock was put back.
fn restores() -> Vec<Scene> {
    let mut world = World::at_work(15);
    let lost = {
        let mut world = World::at_work(15);
        let mut issue = world.next_issue();
        issue.sealed = sealed().2;
        world.put(issue);
        world
    };
    let by = By { chain: ChainName::operators(), leaf: Digest::of(b"backup"), seq: 9 };
    world.now = world.now.plus(Seconds(30));
    restored(&mut world, 1, by.clone());
    world.obtain();
    let once = world.kit.file();
    let pins = Pins {
        receipts: vec![receipt(&lost, |_| {})],
        heads: vec![lost.kit.head.seen(), Seen { head: Digest::of(b"beyond"), size: 40 }],
        ..pinned(&world, kept(&lost, 5, None))
    };
    let mut longer = World::at_work(15);
    for _ in 0..5 {
        longer.obtain();
    }
    let beyond = of(&once, &pinned(&world, kept(&longer, 9, None)));
    let many = (0..23).map(|size| Seen { head: Digest::of(b"beyond"), size: size + 40 }).collect();
    let many = Pins { heads: many, ..world.pins() };
    let (lost_some, lost_many) = (of(&once, &pins), of(&once, &many));
    restored(&mut world, 3, by);
    let twice = of(&world.kit.file(), &world.pins());

    let mut clock = World::at_work(16);
    let by = said(&mut clock);
    clock.now = Timestamp(START.0 + 500);
    clock.put(entry::ClockReset { by });
    clock.rotate(None);
    clock.obtain();
    let late = directory(&clock, |keys| drop(keys.pop()));
    let reset = Pins { directory: Some(Arc::new(late)), ..clock.pins() };
    vec![
        ("restored", of(&once, &world.pins())),
        ("what is held was lost to the restore", lost_some),
        ("an answer in whose place another stands was lost to it", {
            let mut lost = World::at_work(15);
            lost.obtain();
            let mut issue = lost.next_issue();
            issue.sealed = sealed().2;
            lost.put(issue);
            of(&once, &Pins { receipts: vec![receipt(&lost, |_| {})], ..lost.pins() })
        }),
        ("a checkpoint from beyond the end was lost to it", beyond),
        ("much that is held was lost to it", lost_many),
        ("restored twice", twice),
        ("a lease was taken back by the backup that was restored", {
            let mut world = World::at_work(15);
            let (by, lease) = (world.command_of("nockvault/backup"), world.lease());
            restored(&mut world, 1, by.clone());
            world.put(entry::Revoke { by, lease, outcome: "none".into() });
            of(&world.kit.file(), &Pins { operators: commands(&world), ..world.pins() })
        }),
        ("the clock was put back", of(&clock.kit.file(), &reset)),
    ]
}

/// What programs read beside the sentences.
const MEMBERS: &[&str] = &[
    "audit_keys",
    "checkpoint_count",
    "checkpoints",
    "first",
    "keys",
    "made_by_custody",
    "pinned",
    "restores",
    "size",
];

fn told(name: &str, report: &Report) -> String {
    let mut members = serde_json::to_value(report).unwrap();
    members.as_object_mut().unwrap().retain(|name, _| MEMBERS.contains(&name.as_str()));
    format!("== {name}\n{report}{members}\n\n")
}

#[test]
fn an_auditor_reads_what_is_written_here() {
    let all = [agents(), open_ends(), broken(), parts(), parts_of_operators(), vaults(), restores()].concat();
    let text: String = all.iter().map(|(name, report)| told(name, report)).collect();
    crate::committed::stands("tests/tamper/reports.txt", text);
}
