//! Only the checks make an authenticated statement.

use nockvault::authn::Authenticated;
use nockvault::crypto::envelope::Envelope;
use nockvault::registry::HeldKey;
use nockvault::statement::issue::Issue;
use nockvault::statement::request::Request;
use nockvault::time::Timestamp;

fn forge(statement: Request<Issue>, envelope: Envelope, key: HeldKey) -> Authenticated<Request<Issue>> {
    Authenticated { req: envelope.digest(), statement, envelope, key, at: Timestamp(0) }
}

fn main() {}
