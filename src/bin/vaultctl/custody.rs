//! `vaultctl custody`: who can get at the root key, while the vault serves.

use clap::Subcommand;
use nockvault::client::fault::Fault;
use nockvault::client::operator::Operator;
use nockvault::denial::Reason;
use nockvault::entropy::OsEntropy;
use nockvault::id::CustodianName;
use nockvault::statement::approval::Withdraw;
use nockvault::statement::custody::{CustodyAdd, CustodyList, CustodyRemove, CustodyRotate};
use nockvault::statement::doctor::DoctorRead;
use serde_json::{Map, Value};

use crate::approval::Meanwhile;
use crate::output::{As, Column, Output};
use crate::ways::{Made, Way, Ways, take_away};
use crate::{Common, find};

#[derive(Debug, Subcommand)]
pub(crate) enum Custody {
    /// List the custodians. Each can open the vault by itself.
    List,
    /// Add a custodian, so that losing one is not the end.
    ///
    /// Its secret is drawn or typed here and never sent: the vault gets the public key that is derived from it, in the
    /// signed command, and seals a new root key to every custodian. To migrate from one kind to another, add, put what is
    /// said then into the daemon's configuration, and remove the old one.
    Add {
        /// Its name, for people.
        name: CustodianName,
        /// How it comes by its secret.
        #[arg(long, value_name = "KIND", value_enum)]
        custody: Way,
        #[command(flatten)]
        ways: Box<Ways>,
    },
    /// Take a custodian out. A new root key is sealed to the others, and the last one stays.
    ///
    /// Its secret still opens copies of the database and backups that were made until now.
    Remove {
        /// Which.
        name: CustodianName,
    },
    /// Draw a new root key, and seal it to every custodian. Nobody need be present, and no secret changes.
    Rotate,
}

const COLUMNS: &[Column] = &[
    ("CUSTODIAN", "custodian", As::Plain),
    ("KIND", "kind", As::Plain),
    ("AUTOMATIC", "automatic", As::Plain),
    ("ROOT KEY", "root", As::Plain),
    ("SINCE", "since", As::Time),
    ("PUBLIC", "public", As::Plain),
];

impl Custody {
    pub(crate) async fn run(self, common: &Common, output: &Output) -> anyhow::Result<()> {
        if let Custody::Add { custody, ways, .. } = &self {
            ways.check(*custody, &["custody", "add"])?;
        }
        let operator = find::connect(common).await?;
        match self {
            Custody::List => {
                let listed = operator.command(CustodyList {}).await?.result;
                let items = listed.get("items").and_then(Value::as_array).into_iter().flatten();
                let items: Vec<Map<String, Value>> = items.filter_map(Value::as_object).cloned().collect();
                output.list(&items, COLUMNS)
            }
            Custody::Add { name, custody, ways } => add(&operator, name, (custody, ways.as_ref()), output).await,
            Custody::Remove { name } => {
                let result = operator.command(CustodyRemove { name: name.clone() }).await?.result;
                say!("{name} is no custodian any more");
                warn(&result);
                next_start(&operator).await;
                output.one(&result)
            }
            Custody::Rotate => {
                let result = operator.command(CustodyRotate {}).await?.result;
                say!("a new root key is sealed to every custodian");
                output.one(&result)
            }
        }
    }
}

async fn add(
    operator: &Operator,
    name: CustodianName,
    (way, ways): (Way, &Ways),
    output: &Output,
) -> anyhow::Result<()> {
    let Made { kind, secret, opens, files } = ways.make(way, &OsEntropy)?;
    let body = CustodyAdd { kind, name: name.clone(), public: secret.public().into() };
    let meanwhile: Vec<Meanwhile<'_>> = files.iter().map(|file| Meanwhile(Some(file.as_path()))).collect();
    let done = operator.command(body.clone()).await;
    drop(meanwhile);
    if done.as_ref().is_err_and(|fault| fault.reason() == Some(Reason::NeedsApproval)) {
        // The next try has another secret: nobody can carry out this one.
        if let Ok(Some(waiting)) = operator.own_waiting(&body).await {
            let _ = operator.command(Withdraw { command: waiting.command }).await;
        }
    }
    if let Err(Fault::Refused(refusal)) = &done
        && refusal.proven
        && Reason::from_code(&refusal.code) != Some(Reason::OutcomeUnknown)
    {
        // By the vault's own word there is no such custodian.
        take_away(&files);
        if way == Way::Shares && files.is_empty() {
            say!("the shares that were shown open nothing");
        }
    }
    let result = done?.result;
    say!("{name} is a custodian now");
    if let (Way::Credential, Some(path)) = (way, &ways.root_key) {
        say!(
            "Encrypt {path} for this machine, name it in the daemon's unit, and remove it:\n\
             \x20 systemd-creds encrypt --name={name} {path} /etc/credstore.encrypted/{name}",
            path = path.display(),
            name = ways.credential.as_deref().unwrap_or_default(),
        );
    }
    say!("To have the vault opened by it at the start, write into the daemon's configuration:");
    say!("  custody = {}", opens.written());
    output.one(&result)
}

/// Says it loudly where the daemon's configuration still names whom was removed: it would not start again. Who may not ask
/// the doctor is told nothing.
async fn next_start(operator: &Operator) {
    let Ok(told) = operator.command(DoctorRead { probe: false }).await else { return };
    let rows = told.result.get("checks").and_then(Value::as_array).into_iter().flatten();
    let text = |row: &Value, member: &str| row.get(member).and_then(Value::as_str).unwrap_or_default().to_owned();
    for row in rows.filter(|row| text(row, "check") == "custody" && text(row, "state") == "bad") {
        say!("WARNING: the daemon may not start again as it is configured: {}", text(row, "found"));
        say!("{}", text(row, "do"));
    }
}

/// What remains may need people at hand.
fn warn(result: &Map<String, Value>) {
    if result.get("automatic") == Some(&Value::Bool(false)) {
        say!("No custodian is left that opens the vault by itself: after each start somebody has to unseal it.");
        say!("The daemon's configuration should say: custody = {{ unseal = true }}");
    }
}
