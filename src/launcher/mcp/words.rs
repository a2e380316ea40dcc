//! What is said of a credential: what it is and until when, how to use it where it was put, and who can change a refusal.

use super::Options;
use super::form::{Credential, Placed, Slot};
use super::slots::How;
use super::text::{Open, Text, Word};
use crate::client::fault::Fault;
use crate::denial::Reason;
use crate::id::RoleName;
use crate::launcher::wallet::Owner;
use crate::launcher::want::Want;

/// Who is asked in whose name, what may be asked for, and what is held.
pub(super) fn list(owner: &Owner, roles: Option<&[RoleName]>, proxied: &[RoleName], held: &[Credential]) -> Text {
    let mut text = Text::of(&[&"Agent ", &owner.identity.name, &" at vault ", &owner.card.name, &". May ask for"]);
    match roles {
        None => text.add(&[&" every role that it was granted."]),
        Some([]) => text.add(&[&" no file or variable."]),
        Some(roles) => names(&mut text, roles),
    }
    if !proxied.is_empty() {
        text.add(&[&" The proxy puts into requests"]);
        names(&mut text, proxied);
    }
    if held.is_empty() {
        text.add(&[&" Nothing is held."]);
    }
    for credential in held {
        text.add(&[&"\nHeld: ", &of(credential)]);
    }
    text
}

fn names(text: &mut Text, roles: &[RoleName]) {
    for (i, role) in roles.iter().enumerate() {
        text.add(&[&if i > 0 { ", " } else { ": " }, role]);
    }
    text.add(&[&"."]);
}

/// One credential.
pub(super) fn of(credential: &Credential) -> Text {
    let mut text = Text::of(&[&credential.role]);
    if let Some(params) = &credential.params {
        text.add(&[&" (", params, &")"]);
    }
    text.add(&[&", lease ", &credential.lease, &", until ", &credential.expires]);
    text.add(&[&" and prolonged while it is held."]);
    for Placed { deliver, name, path } in &credential.placed {
        match path {
            Some(_) if *deliver == Slot::Proxy => text.add(&[&" The proxy puts it into requests."]),
            Some(path) => text.add(&[&" ", name, &" is the file ", path, &"."]),
            None => text.add(&[&" ", name, &" is a variable of commands run with the prefix."]),
        }
    }
    if let Some(trouble) = &credential.trouble {
        text.add(&[&" But ", trouble, &"."]);
    }
    text
}

/// How to use it where it was put.
pub(super) fn how(options: &Options, want: &Want, kind: Option<&str>, how: &How, placed: &[Placed]) -> Text {
    match how {
        How::Env(variable, member) => {
            let mut text = Text::of(&[
                &"Run what needs it with this prefix: ",
                &options.program,
                &" run --socket ",
                &options.socket,
                &" --env ",
                variable,
                &"=",
                &want.role,
            ]);
            if let Some(member) = member {
                text.add(&[&":", &Word::of_caller(member)]);
            }
            for (name, value) in &want.params {
                let param = format!("{}:{name}={value}", want.role);
                text.add(&[&" --param ", &Word::of_caller(&param)]);
            }
            text.add(&[&" -- COMMAND. Only that command has the variable."]);
            text
        }
        How::Proxy(file) => Text::of(&[
            &"Run what needs it with: . ",
            file,
            &" && COMMAND. Requests to the hosts of the proxy's rules get the credential on their way; no program has it.",
        ]),
        How::File(member) => files(want, kind.filter(|_| member.is_none()), placed),
    }
}

/// How programs are told of the files.
fn files(want: &Want, kind: Option<&str>, placed: &[Placed]) -> Text {
    let empty = Text::default();
    let path = |ending: &str| -> &dyn Open {
        let found = placed.iter().find(|placed| placed.name.as_str().ends_with(ending));
        found.and_then(|placed| placed.path.as_ref()).unwrap_or(&empty)
    };
    let mut text = match kind {
        Some("postgres") => {
            let file = path("PGSERVICEFILE");
            Text::of(&[&"Connect with: PGSERVICEFILE=", file, &" PGSERVICE=", &want.role, &" psql"])
        }
        Some("ssh") => Text::of(&[&"Connect with: ssh -o IdentitiesOnly=yes -i ", path(""), &" USER@HOST"]),
        Some("x509") => Text::of(&[
            &"Connect with: curl --cert ",
            path("_CERT"),
            &" --key ",
            path("_KEY"),
            &" --cacert ",
            path("_CA"),
            &" URL",
        ]),
        _ => Text::of(&[&"Give programs that read a secret from a file the path ", path("")]),
    };
    text.add(&[&". The files follow when the credential is replaced, and go when it is released."]);
    text
}

/// A refusal, with who can change it where somebody can.
pub(super) fn refused(owner: &Owner, role: &RoleName, fault: &Fault) -> Text {
    let agent = &owner.identity.name;
    let command = match fault.reason() {
        Some(Reason::NoGrant | Reason::GrantExpired) => {
            Text::of(&[&"vaultctl grant ", agent, &" ", role, &" --ttl 15m"])
        }
        Some(
            Reason::GrantExhausted | Reason::SessionNotGranted | Reason::AddressNotGranted | Reason::TtlExceedsGrant,
        ) => Text::of(&[&"vaultctl grants --agent ", agent]),
        Some(Reason::AgentFrozen) => Text::of(&[&"vaultctl thaw ", agent]),
        _ => return Text::of(&[fault]),
    };
    Text::of(&[
        fault,
        &"\nOnly an operator of vault ",
        &owner.card.name,
        &" can change that, for example with: ",
        &command,
        &"\nTell the user so, and ask again when it was done; asking again before that changes nothing.",
    ])
}
