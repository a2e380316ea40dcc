//! Bad files in which a command was not wanted by as many operators as the rules asked for.

use nockvault::audit::entry::{self, Approval, By, Waits};
use nockvault::audit::verify::report::{Fault, Verdict};
use nockvault::audit::verify::verify_operators;
use nockvault::crypto::envelope::{Embedded, PayloadType};
use nockvault::crypto::hash::Digest;
use nockvault::crypto::signature::SigningKey;
use nockvault::statement::Body;
use nockvault::statement::agent::AgentFreeze;
use nockvault::statement::approval::{Approve, PolicySet, Withdraw};
use nockvault::statement::grant::GrantRevoke;
use nockvault::statement::operator::{Duty, OperatorDuty, OperatorKeyEnd, OperatorRegister, OperatorRotate};
use nockvault::statement::register::Holder;
use nockvault::statement::reply::EntryRef;
use nockvault::time::Seconds;
use serde_json::Map;

use crate::cases::{Bad, Case};
use crate::operators::{hire, put_out, signed_by};
use crate::world::World;

pub(crate) const APPROVALS: &[Case] = &[
    ("a command without the approvals that it takes", Fault::Approval, || {
        ruled(|scene| {
            scene.wait(&revoke("a"));
            scene.carry(&revoke("a"), Vec::new());
        })
    }),
    ("approvals dropped from a command", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            scene.approve("joe", id);
            scene.carry(&revoke("a"), Vec::new());
        })
    }),
    ("an approval that nobody gave", Fault::Approval, || {
        ruled(|scene| {
            scene.wait(&revoke("a"));
            let entry = EntryRef { leaf: Digest::of(b"forged"), seq: 3 };
            scene.carry(&revoke("a"), vec![Approval { entry, operator: "joe".parse().unwrap() }]);
        })
    }),
    ("an approval in another's name", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            scene.carry(&revoke("a"), vec![Approval { operator: "mara".parse().unwrap(), ..joe }]);
        })
    }),
    ("an approval of another entry", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            let entry = EntryRef { seq: joe.entry.seq - 1, ..joe.entry };
            scene.carry(&revoke("a"), vec![Approval { entry, ..joe }]);
        })
    }),
    ("an approval used twice", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            scene.carry(&revoke("a"), vec![joe.clone()]);
            scene.carry(&revoke("a"), vec![joe]);
        })
    }),
    ("an approval counted twice", Fault::Approval, || {
        ruled_by(3, |scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            scene.carry(&revoke("a"), vec![joe.clone(), joe]);
        })
    }),
    ("an approval for another body", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            scene.carry(&revoke("b"), vec![joe]);
        })
    }),
    ("an approval for another's command", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let mara = scene.approve("mara", id);
            let command = scene.by("joe", &revoke("a"));
            scene.carried(command, vec![mara]);
        })
    }),
    ("an operator approves a command of its own", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            scene.approve("ada", id);
        })
    }),
    ("an operator approves twice", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            scene.approve("joe", id);
            scene.approve("joe", id);
        })
    }),
    ("an operator approves what its duty does not allow", Fault::Duty, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            scene.approve("ben", id);
        })
    }),
    ("an approval of what does not wait", Fault::Approval, || {
        ruled(|scene| drop(scene.approve("joe", Digest::of(b"nothing"))))
    }),
    ("an approval after the wait", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            scene.world.now = scene.world.now.plus(WAIT);
            scene.approve("joe", id);
        })
    }),
    ("a command after the wait", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            scene.world.now = scene.world.now.plus(WAIT);
            scene.carry(&revoke("a"), vec![joe]);
        })
    }),
    ("an approval of one who is out", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            let key = scene.key("joe");
            put_out(&mut scene.world, "joe", &key);
            scene.carry(&revoke("a"), vec![joe]);
        })
    }),
    ("an approval of one who was demoted", Fault::Duty, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            let demoted = OperatorDuty { duty: Duty::Auditor, operator: "joe".parse().unwrap() };
            let other = scene.wait(&demoted);
            let mara = scene.approve("mara", other);
            scene.carry(&demoted, vec![mara]);
            scene.carry(&revoke("a"), vec![joe]);
        })
    }),
    ("an approval of what was withdrawn", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            scene.carry(&Withdraw { command: id }, Vec::new());
            scene.approve("joe", id);
        })
    }),
    ("one who is no admin withdraws another's command", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let command = scene.by("ben", &Withdraw { command: id });
            scene.carried(command, Vec::new());
        })
    }),
    ("the rule is lifted by one alone", Fault::Approval, || {
        ruled(|scene| scene.carry(&PolicySet::default(), Vec::new()))
    }),
    ("an operator is registered by one alone", Fault::Approval, || {
        ruled(|scene| drop(hire(&mut scene.world, "eve", Duty::Auditor)))
    }),
    ("an operator's further key is registered by one alone", Fault::Approval, || {
        ruled(|scene| {
            let (joe, next) = (scene.key("joe"), SigningKey::generate(&scene.world.entropy));
            let register = scene.world.register(Holder::Operator("joe".parse().unwrap()), &next, Some((&joe, 1)));
            scene.carry(&OperatorRegister { duty: None, register }, Vec::new());
        })
    }),
    ("a refusal names approvals", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            let refused = entry::Command::refused(scene.world.signed_command(&revoke("a")), "not_found");
            scene.world.order(entry::Command { approvals: vec![joe], ..refused });
        })
    }),
    ("it says that it takes fewer", Fault::Approval, || {
        ruled_by(3, |scene| {
            let command = scene.world.signed_command(&revoke("a"));
            scene.says(command, |waits| waits.persons = 2);
        })
    }),
    ("it says that it waits longer", Fault::Approval, || {
        ruled(|scene| {
            let command = scene.world.signed_command(&revoke("a"));
            scene.says(command, |waits| waits.expires = waits.expires.plus(Seconds(1)));
        })
    }),
    ("it says that another waits", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let command = scene.world.signed_command(&revoke("b"));
            scene.says(command, |waits| waits.command = id);
        })
    }),
    ("a command that takes three, while nothing waits", Fault::Approval, || {
        ruled_by(3, |scene| scene.carry(&revoke("a"), Vec::new()))
    }),
    ("it says that it waits with another, and for longer", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let command = scene.world.signed_command(&revoke("a"));
            scene.says(command, |waits| (waits.command, waits.expires) = (id, waits.expires.plus(Seconds(1))));
        })
    }),
    ("an approval of what was forgotten before the clock was put back", Fault::Approval, || {
        ruled(|scene| {
            let (id, then) = (scene.wait(&revoke("a")), scene.world.now);
            scene.world.now = then.plus(WAIT);
            scene.wait(&revoke("b"));
            let by = scene.world.command_of("nockvault/clock_reset");
            scene.world.now = then;
            let reset = entry::ClockReset { by };
            scene.world.operators.put(&scene.world.audit, &reset.into(), then);
            scene.approve("joe", id);
        })
    }),
    ("an approval of a command of one who is out", Fault::Approval, || {
        ruled(|scene| {
            let command = scene.by("joe", &revoke("a"));
            let id = scene.says(command, |_| {});
            let key = scene.key("joe");
            put_out(&mut scene.world, "joe", &key);
            scene.wait(&revoke("b"));
            scene.approve("mara", id);
        })
    }),
    ("an approval by a key that was ended since", Fault::Approval, || {
        ruled(|scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            let (old, next) = (scene.key("joe"), SigningKey::generate(&scene.world.entropy));
            let register = scene.world.register(Holder::Operator("joe".parse().unwrap()), &next, Some((&old, 1)));
            let rotate = scene.by("joe", &OperatorRotate { register });
            scene.carried(rotate, Vec::new());
            let operator = "joe".parse().unwrap();
            let end = OperatorKeyEnd { operator, kid: Some(old.kid()), suspect_from: None };
            let end = scene.world.signed_command(&end);
            let result = serde_json::json!({ "kids": [old.kid()] });
            scene.world.order(entry::Command::carried(end, result.as_object().cloned().unwrap()));
            scene.carry(&revoke("a"), vec![joe]);
        })
    }),
    ("it waits where no rule asks for it", Fault::Approval, || {
        ruled(|scene| {
            let lock = nockvault::statement::freeze::VaultFreeze { reason: Default::default() };
            let command = scene.world.signed_command(&lock);
            scene.says(command, |_| {});
        })
    }),
];

/// For how long commands wait.
const WAIT: Seconds = Seconds(600);

/// Operators, and a rule of several persons for `grant_revoke`.
struct Scene {
    world: World,
    persons: u64,
    keys: Vec<(&'static str, SigningKey)>,
}

fn revoke(role: &str) -> GrantRevoke {
    GrantRevoke { agent: "kit".parse().unwrap(), role: role.parse().unwrap() }
}

impl Scene {
    fn key(&self, name: &str) -> SigningKey {
        let (_, key) = self.keys.iter().find(|(known, _)| *known == name).unwrap();
        crate::world::copy(key)
    }

    /// A command of another operator than the first.
    fn by<B: Body>(&self, name: &str, body: &B) -> Embedded {
        signed_by(&self.world, name, &self.key(name), body)
    }

    /// Refuses this command, which waits from here on.
    fn wait<B: Body>(&mut self, body: &B) -> Digest {
        let command = self.world.signed_command(body);
        self.says(command, |_| {})
    }

    fn says(&mut self, command: Embedded, change: impl FnOnce(&mut Waits)) -> Digest {
        let digest = command.open(PayloadType::Command).digest();
        let mut waits = Waits { command: digest, expires: self.world.now.plus(WAIT), persons: self.persons };
        change(&mut waits);
        self.world.order(entry::Command::waiting(command, "needs_approval", &waits));
        digest
    }

    fn approve(&mut self, name: &str, command: Digest) -> Approval {
        let body = Approve { command };
        let signed = if name == "ada" { self.world.signed_command(&body) } else { self.by(name, &body) };
        let By { leaf, seq, .. } = self.carried(signed, Vec::new());
        Approval { entry: EntryRef { leaf, seq }, operator: name.parse().unwrap() }
    }

    /// Carries out a command of the first operator.
    fn carry<B: Body>(&mut self, body: &B, approvals: Vec<Approval>) {
        let command = self.world.signed_command(body);
        self.carried(command, approvals);
    }

    fn carried(&mut self, command: Embedded, approvals: Vec<Approval>) -> By {
        self.world.order(entry::Command { approvals, ..entry::Command::carried(command, Map::new()) })
    }
}

fn ruled(wrong: impl FnOnce(&mut Scene)) -> Bad {
    ruled_by(2, wrong)
}

fn ruled_by(persons: u64, wrong: impl FnOnce(&mut Scene)) -> Bad {
    let mut world = World::at_work(7);
    let keys = [("joe", Duty::Admin), ("mara", Duty::Admin), ("ben", Duty::Responder)];
    let keys = keys.into_iter().map(|(name, duty)| (name, hire(&mut world, name, duty))).collect();
    let rules = [("agent_freeze".to_owned(), persons), ("grant_revoke".to_owned(), persons)].into();
    world.command(PolicySet { rules, wait: WAIT });
    let mut scene = Scene { world, persons, keys };
    wrong(&mut scene);
    let (pins, lines) = (scene.world.pins(), scene.world.operators.lines);
    Bad { entry: lines.len() - 1, pins, lines, operators: None }
}

/// What enough operators want is carried out, and what waits may be asked for again and taken back.
#[test]
fn what_enough_operators_want_is_in_order() {
    type Told = fn(&mut Scene);
    let all: [(&str, u64, Told); 6] = [
        ("two", 2, |scene| {
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            scene.carry(&revoke("a"), vec![joe]);
        }),
        ("three", 3, |scene| {
            let id = scene.wait(&revoke("a"));
            let both = vec![scene.approve("mara", id), scene.approve("joe", id)];
            scene.carry(&revoke("a"), both);
        }),
        ("asked for again", 2, |scene| {
            let (id, expires) = (scene.wait(&revoke("a")), scene.world.now.plus(WAIT));
            scene.world.now = scene.world.now.plus(Seconds(5));
            let command = scene.world.signed_command(&revoke("a"));
            scene.says(command, |waits| (waits.command, waits.expires) = (id, expires));
            let joe = scene.approve("joe", id);
            scene.carry(&revoke("a"), vec![joe]);
        }),
        ("waited for in vain, and asked for anew", 2, |scene| {
            scene.wait(&revoke("a"));
            scene.world.now = scene.world.now.plus(WAIT);
            let id = scene.wait(&revoke("a"));
            let joe = scene.approve("joe", id);
            scene.carry(&revoke("a"), vec![joe]);
        }),
        ("taken back by an admin", 2, |scene| {
            let id = scene.wait(&revoke("a"));
            let command = scene.by("mara", &Withdraw { command: id });
            scene.carried(command, Vec::new());
        }),
        ("taken back by one who is none", 2, |scene| {
            let freeze = AgentFreeze { agent: "kit".parse().unwrap(), reason: None };
            let command = scene.by("ben", &freeze);
            let id = scene.says(command, |_| {});
            let command = scene.by("ben", &Withdraw { command: id });
            scene.carried(command, Vec::new());
        }),
    ];
    for (name, persons, told) in all {
        let Bad { lines, pins, .. } = ruled_by(persons, told);
        let (found, _) = verify_operators(crate::world::file(&lines).as_slice(), &pins).unwrap();
        assert_eq!(found.verdict, Verdict::Intact, "{name}: {found}");
    }
}
