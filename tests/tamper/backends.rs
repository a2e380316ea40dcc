//! Bad files in which the life of a credential at its backend is told wrongly.

use nockvault::audit::entry;
use nockvault::audit::verify::report::Fault;
use nockvault::id::{LeaseId, RoleName, handle};
use nockvault::statement::issue::Issue;
use nockvault::statement::lease::{LeaseForget, LeaseRevoke, Scope};
use nockvault::statement::reply::Revocation;
use nockvault::statement::role::RoleCreate;
use nockvault::time::Seconds;

use crate::cases::{Case, then, with_operators};
use crate::world::World;

pub(crate) fn undone(world: &mut World, lease: &LeaseId) {
    world.put(entry::Undone { lease: lease.clone(), outcome: "revoked".into(), tries: 0 });
}

pub(crate) const BACKENDS: &[Case] = &[
    ("undone while it lives", Fault::Lease, || {
        then(|world| {
            let lease = world.obtain_at_backend();
            undone(world, &lease);
        })
    }),
    ("undone while it lives and another session was closed", Fault::Lease, || {
        then(|world| {
            let lease = world.obtain_at_backend();
            world.sid = "nightly-8";
            world.hello();
            world.close();
            undone(world, &lease);
        })
    }),
    ("undone in no way there is", Fault::Lease, || {
        then(|world| {
            let lease = world.obtain_at_backend();
            world.release(&lease);
            world.put(entry::Undone { lease, outcome: "pending".into(), tries: 0 });
        })
    }),
    ("said to leave nothing at its backend", Fault::Header, || {
        with_operators(|world| {
            let role: RoleName = "orders-write".parse().unwrap();
            world.command(RoleCreate { role: role.clone(), engine: "postgres".into(), config: Default::default() });
            let mut issue = world.issue(world.ask(Issue { role: role.clone(), ..world.wish() }));
            issue.hdr.role = role;
            world.put(issue);
        })
    }),
    ("undone twice", Fault::Lease, || {
        then(|world| {
            let lease = world.obtain_at_backend();
            world.release(&lease);
            undone(world, &lease);
            undone(world, &lease);
        })
    }),
    ("undone though never issued", Fault::Lease, || then(|world| undone(world, &LeaseId::new(1, [1; 10])))),
    ("undone though it has no backend", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.release(&lease);
            undone(world, &lease);
        })
    }),
    ("ended as if nothing were left at its backend", Fault::Lease, || {
        then(|world| {
            let lease = world.obtain_at_backend();
            world.put(entry::Undelivered { lease, outcome: "none".into() });
        })
    }),
    ("abandoned under the lease of another", Fault::Lease, || {
        then(|world| {
            let lease = world.obtain_at_backend();
            world.abandon(&lease, &handle(&"kit".parse().unwrap(), &lease));
        })
    }),
    ("abandoned though its key was over long before", Fault::RequestKey, || {
        then(|world| {
            world.end_key();
            world.now = world.now.plus(Seconds(3600));
            let lease = LeaseId::new(1, [1; 10]);
            world.abandon(&lease, &handle(&"kit".parse().unwrap(), &lease));
        })
    }),
    ("abandoned under another's name", Fault::Header, || {
        then(|world| {
            let lease = LeaseId::new(1, [1; 10]);
            world.abandon(&lease, &handle(&"mira".parse().unwrap(), &lease));
        })
    }),
    ("issued under another's name", Fault::Header, || {
        then(|world| {
            let mut issue = world.next_issue();
            issue.handle = handle(&"mira".parse().unwrap(), &issue.hdr.lease);
            world.put(issue);
        })
    }),
    ("given up by a command for another lease", Fault::By, || {
        with_operators(|world| {
            let lease = world.obtain_at_backend();
            world.release(&lease);
            let by = world.command(LeaseForget { lease: LeaseId::new(1, [1; 10]) });
            world.put(entry::Forget { by, lease });
        })
    }),
    ("given up while it lives", Fault::Lease, || {
        with_operators(|world| {
            let lease = world.obtain_at_backend();
            let by = world.command(LeaseForget { lease: lease.clone() });
            world.put(entry::Forget { by, lease });
        })
    }),
    ("revoked by a command for another session", Fault::By, || {
        with_operators(|world| {
            let lease = world.obtain_at_backend();
            let scope = Scope::Session("kit".parse().unwrap(), "nightly-9".parse().unwrap());
            let by = world.command(LeaseRevoke { reason: None, scope });
            world.put(entry::Revoke { by, lease, outcome: "pending".into() });
        })
    }),
    ("revoked by a command for another role", Fault::By, || {
        with_operators(|world| {
            let lease = world.obtain_at_backend();
            let by = world.command(LeaseRevoke { reason: None, scope: Scope::Role("orders-write".parse().unwrap()) });
            world.put(entry::Revoke { by, lease, outcome: "pending".into() });
        })
    }),
    ("revoked by a command for another agent", Fault::By, || {
        with_operators(|world| {
            let lease = world.obtain_at_backend();
            let by = world.command(LeaseRevoke { reason: None, scope: Scope::Agent("mira".parse().unwrap()) });
            world.put(entry::Revoke { by, lease, outcome: "pending".into() });
        })
    }),
    ("a session revoked by nobody", Fault::By, || {
        then(|world| {
            let sid = world.sid.parse().unwrap();
            world.put(entry::SessionEnd { by: None, reason: "revoked".into(), sid });
        })
    }),
    ("a session revoked by a command for an agent", Fault::By, || {
        with_operators(|world| {
            let by = Some(world.command(LeaseRevoke { reason: None, scope: Scope::Agent("kit".parse().unwrap()) }));
            let sid = world.sid.parse().unwrap();
            world.put(entry::SessionEnd { by, reason: "revoked".into(), sid });
        })
    }),
];

impl World {
    /// A credential that lives at a backend.
    pub(crate) fn obtain_at_backend(&mut self) -> LeaseId {
        let mut issue = self.next_issue();
        issue.hdr.revocation = Revocation::Backend;
        let lease = issue.hdr.lease.clone();
        self.put(issue);
        lease
    }

    /// A request for which something may have been made.
    pub(crate) fn abandon(&mut self, lease: &LeaseId, handle: &str) {
        let request = self.ask(self.wish());
        let (handle, lease) = (Some(handle.to_owned()), Some(lease.clone()));
        self.put(entry::Deny { handle, lease, reason: "engine_unavailable".into(), request });
    }

    /// An intent that is broken off when its key is over, by a command and behind its overlap.
    pub(crate) fn outlived(&mut self) {
        for number in [7, 8] {
            let (request, lease) = (self.ask(self.wish()), LeaseId::new(self.now.0, [number; 10]));
            if number == 7 {
                self.rotate(Some(self.now.plus(Seconds(3))));
            } else {
                self.end_key();
            }
            self.now = self.now.plus(Seconds(7200));
            let handle = Some(handle(&"kit".parse().unwrap(), &lease));
            self.put(entry::Deny { handle, lease: Some(lease), reason: "interrupted".into(), request });
        }
    }

    /// All that becomes of credentials at backends, once.
    pub(crate) fn at_backends(&mut self) {
        let agent = "kit".parse().unwrap();
        let released = self.obtain_at_backend();
        self.release(&released);
        undone(self, &released);
        let abandoned = LeaseId::new(self.now.0, [6; 10]);
        self.abandon(&abandoned, &handle(&agent, &abandoned));
        let given_up = self.obtain_at_backend();
        let by = self.command(LeaseRevoke { reason: None, scope: Scope::All });
        self.put(entry::Revoke { by, lease: given_up.clone(), outcome: "pending".into() });
        undone(self, &abandoned);
        let by = self.command(LeaseForget { lease: given_up.clone() });
        self.put(entry::Forget { by, lease: given_up });
        let with_its_session = self.obtain_at_backend();
        let sid = self.sid.parse().unwrap();
        let by = self.command(LeaseRevoke { reason: None, scope: Scope::Session(agent, self.sid.parse().unwrap()) });
        self.put(entry::SessionEnd { by: Some(by.clone()), reason: "revoked".into(), sid });
        self.put(entry::Revoke { by, lease: with_its_session, outcome: "pending".into() });
    }
}
