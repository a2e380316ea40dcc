//! Bad files in which the agent asked, and got something else than it asked for or was granted.

use nockvault::audit::entry::{self, By};
use nockvault::audit::verify::report::Fault;
use nockvault::crypto::hash::Digest;
use nockvault::id::ChainName;
use nockvault::statement::grant::Terms;
use nockvault::statement::issue::Issue;
use nockvault::statement::lease::Renew;
use nockvault::time::Seconds;

use crate::cases::{Case, issued, then, under};
use crate::world::{START, TTL, World, copy, terms};

pub(crate) const GIVEN: &[Case] = &[
    ("issued for another agent", Fault::Header, || issued(|_, issue| issue.hdr.agent = "mira".parse().unwrap())),
    ("issued to another key", Fault::Header, || issued(|world, issue| issue.hdr.kid = world.operator.kid())),
    ("issued of another role", Fault::Header, || issued(|_, issue| issue.hdr.role = "orders-write".parse().unwrap())),
    ("issued for another session", Fault::Header, || issued(|_, issue| issue.hdr.sid = "nightly-9".parse().unwrap())),
    ("issued by another vault", Fault::Header, || issued(|_, issue| issue.hdr.vault = World::new(99).aud)),
    ("issued for another request", Fault::Header, || issued(|_, issue| issue.hdr.req = Digest::of(b"another"))),
    ("issued to live backwards", Fault::Header, || issued(|_, issue| issue.hdr.exp = issue.hdr.iat)),
    ("issued in the future", Fault::Header, || {
        then(|world| {
            world.obtain();
            let (key, later) = (copy(&world.stolen), world.now.0 + 5000);
            world.rewrite(&key, |entry| {
                entry["body"]["hdr"]["iat"] = later.into();
                entry["body"]["hdr"]["exp"] = (later + 1000).into();
            });
        })
    }),
    ("issued for longer than asked", Fault::Life, || {
        issued(|_, issue| issue.hdr.exp = nockvault::time::Timestamp(issue.hdr.exp.0 + 1))
    }),
    ("renewed for longer than asked", Fault::Life, || {
        then(|world| {
            let request = world.ask(Renew { lease: world.lease(), ttl: TTL });
            let exp = world.now.plus(TTL).plus(Seconds(2));
            world.put(entry::Renew { exp, lease: world.lease(), request });
        })
    }),
    ("renewed by default for longer than the default", Fault::Life, || {
        then(|world| {
            let request = world.ask(Renew { lease: world.lease(), ttl: Seconds(0) });
            let exp = world.now.plus(TTL).plus(Seconds(2));
            world.put(entry::Renew { exp, lease: world.lease(), request });
        })
    }),
    ("issued by default for longer than the default", Fault::Grant, || {
        then(|world| {
            let request = world.ask(Issue { ttl: Seconds(0), ..world.wish() });
            let mut issue = world.issue(request);
            issue.hdr.exp = issue.hdr.iat.plus(Seconds(601));
            world.put(issue);
        })
    }),
    ("issued beyond the longest life", Fault::Grant, || {
        under(Terms { max_ttl: Seconds(599), ttl: Seconds(60), ..terms() }, |_, _| {})
    }),
    ("issued beyond the grant's end", Fault::Grant, || {
        under(Terms { until: Some(START.plus(Seconds(60))), ..terms() }, |_, _| {})
    }),
    ("issued in a session that is not covered", Fault::Grant, || {
        under(Terms { session: Some("daily-*".parse().unwrap()), ..terms() }, |_, _| {})
    }),
    ("issued more often than granted", Fault::Grant, || {
        then(|world| {
            world.ungrant();
            world.give(Terms { max_uses: Some(1), ..terms() });
            world.obtain();
            world.obtain();
        })
    }),
    ("issued without a grant", Fault::Grant, || {
        then(|world| {
            world.ungrant();
            world.obtain();
        })
    }),
    ("issued under an entry that is no grant", Fault::Grant, || issued(|_, issue| issue.grant = 0)),
    ("a grant taken back that is not in force", Fault::Grant, || {
        then(|world| {
            world.ungrant();
            world.ungrant();
        })
    }),
    ("a grant taken back under another entry's number", Fault::Grant, || {
        then(|world| {
            world.grant -= 1;
            world.ungrant();
        })
    }),
    ("renewed after its grant was taken back", Fault::Grant, || {
        then(|world| {
            let lease = world.lease();
            world.ungrant();
            world.renew(&lease, TTL);
        })
    }),
    ("renewed beyond the grant's end", Fault::Grant, || {
        then(|world| {
            world.ungrant();
            world.give(Terms { until: Some(START.plus(Seconds(900))), ..terms() });
            world.obtain();
            world.now = START.plus(Seconds(500));
            let lease = world.lease();
            world.renew(&lease, TTL);
        })
    }),
    ("renewed beyond the longest life", Fault::Grant, || {
        then(|world| {
            let lease = world.lease();
            world.renew(&lease, Seconds(3600));
        })
    }),
    ("renewed though never issued", Fault::Lease, || {
        then(|world| world.renew(&nockvault::id::LeaseId::new(1, [1; 10]), TTL))
    }),
    ("renewed after its end", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.release(&lease);
            world.renew(&lease, TTL);
        })
    }),
    ("renewed after it ran out", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.now = world.now.plus(TTL);
            world.renew(&lease, TTL);
        })
    }),
    ("renewed though not renewable", Fault::Lease, || {
        then(|world| {
            let mut issue = world.next_issue();
            issue.hdr.renewable = false;
            let lease = issue.hdr.lease.clone();
            world.put(issue);
            world.renew(&lease, TTL);
        })
    }),
    ("released twice", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.release(&lease);
            world.release(&lease);
        })
    }),
    ("revoked though never issued", Fault::Lease, || {
        then(|world| {
            let lease = nockvault::id::LeaseId::new(1, [1; 10]);
            let by = world.command(nockvault::statement::lease::LeaseRevoke {
                reason: None,
                scope: nockvault::statement::lease::Scope::Lease(lease.clone()),
            });
            world.put(entry::Revoke { by, lease, outcome: "none".into() });
        })
    }),
    ("expired before its time", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.put(entry::Expire { lease, outcome: "none".into() });
        })
    }),
    ("undelivered after its release", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.release(&lease);
            world.put(entry::Undelivered { lease, outcome: "none".into() });
        })
    }),
    ("revoked after its session was closed", Fault::Lease, || {
        then(|world| {
            let lease = world.lease();
            world.close();
            let by = world.command(nockvault::statement::lease::LeaseRevoke {
                reason: None,
                scope: nockvault::statement::lease::Scope::Lease(lease.clone()),
            });
            world.put(entry::Revoke { by, lease, outcome: "none".into() });
        })
    }),
    ("one lease issued twice", Fault::Lease, || {
        then(|world| {
            let mut again = world.next_issue();
            again.hdr.lease = world.lease();
            again.handle = world.last_issue().handle;
            world.put(again);
        })
    }),
    ("issued under another seal key", Fault::Session, || {
        then(|world| {
            world.seal.pk = nockvault::crypto::hpke::SealKeyBytes::from_bytes([9; 32]);
            world.obtain();
        })
    }),
    ("a session closed twice", Fault::Session, || {
        then(|world| {
            world.close();
            world.close();
        })
    }),
    ("issued in a session that was closed", Fault::Session, || {
        then(|world| {
            world.close();
            world.obtain();
        })
    }),
    ("renewed from another session", Fault::Session, || {
        then(|world| {
            let lease = world.lease();
            world.sid = "nightly-8";
            world.hello();
            world.renew(&lease, TTL);
        })
    }),
    ("issued to a frozen agent", Fault::Frozen, || {
        then(|world| {
            let by = By { chain: ChainName::operators(), leaf: Digest::of(b"freeze"), seq: 9 };
            world.put(entry::Freeze { by });
            world.obtain();
        })
    }),
];
