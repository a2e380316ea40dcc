//! Operators whom custody made. No operator's command stands behind such an entry: the vault says that somebody opened a
//! custodian of the root key, and the new key proves itself. What can be held against the chain is held against it: who
//! the custodians were, as far as commands have told, and how many shares it takes.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use serde::Serialize;
use serde_json::{Map, Value};

use super::report::{Fault, Finding};
use crate::audit::entry::CustodyOperator;
use crate::id::{CustodianName, Kid, OperatorName};
use crate::statement::Body as _;
use crate::statement::custody::{CustodyAdd, CustodyRemove, Kind};
use crate::statement::operator::Duty;
use crate::time::Timestamp;

/// An operator whom custody made, as `_operators` tells it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct MadeByCustody {
    /// The entry.
    pub entry: u64,
    /// When.
    pub ts: Timestamp,
    /// The operator, who may do everything from then on.
    pub operator: OperatorName,
    /// Its first key.
    pub kid: Kid,
    /// The custodian that was opened.
    pub custodian: CustodianName,
    /// How the custodian comes by its secret.
    pub kind: &'static str,
    /// The indexes of the shares that were given.
    pub shares: Vec<u8>,
    /// How many shares there are; none for a custodian without shares.
    pub of: Option<u8>,
}

impl MadeByCustody {
    pub(super) fn of(said: &CustodyOperator, (operator, kid): (OperatorName, Kid), entry: u64, ts: Timestamp) -> Self {
        let of = if let Kind::Shares { count, .. } = said.kind { Some(count) } else { None };
        let (custodian, shares) = (said.custodian.clone(), said.shares.clone());
        MadeByCustody { entry, ts, operator, kid, custodian, kind: said.kind.name(), shares, of }
    }
}

impl fmt::Display for MadeByCustody {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let MadeByCustody { entry, ts, operator, kid, custodian, kind, shares, of } = self;
        write!(f, "{operator} was made admin by custody ({kind} {custodian}")?;
        if let Some(of) = of {
            let indexes = shares.iter().map(u8::to_string).collect::<Vec<_>>().join(", ");
            write!(f, ", {} of {of}: {indexes}", shares.len())?;
        }
        write!(f, ") at {ts}, with the key {kid} (entry {entry})")
    }
}

/// The custodians, as far as the commands of a chain tell them. Those of the founding stand in no entry.
#[derive(Debug, Default)]
pub(super) struct Custodians {
    /// All names, as the newest command that changed them tells them.
    all: Option<BTreeSet<String>>,
    /// Of those whom a command appointed the kind, as it said it, and none of those whom one took out.
    kinds: BTreeMap<String, Option<Value>>,
}

impl Custodians {
    /// A command that was carried out with this result.
    pub(super) fn carried(&mut self, typ: &str, body: &Value, result: &Map<String, Value>) {
        let name = body.get("name").and_then(Value::as_str).unwrap_or_default().to_owned();
        let kind = match typ {
            CustodyAdd::TYP => Some(body.get("kind").cloned().unwrap_or_default()),
            CustodyRemove::TYP => None,
            _ => return,
        };
        self.kinds.insert(name, kind);
        let told = result.get("custodians").and_then(Value::as_array);
        self.all = told.map(|all| all.iter().filter_map(Value::as_str).map(str::to_owned).collect());
    }

    /// Whether such a custodian may have been opened, and in this way.
    pub(super) fn may_have(&self, said: &CustodyOperator) -> Result<(), Finding> {
        let CustodyOperator { custodian, duty, kind, shares, .. } = said;
        let wrong = |how: String| Err(Fault::Custody.found(how));
        if *duty != Duty::Admin {
            return wrong("custody makes an operator who may do everything, and this one may not".to_owned());
        }
        let (named, as_said) = (custodian.as_str(), serde_json::to_value(kind).unwrap_or_default());
        match self.kinds.get(named) {
            Some(None) => return wrong(format!("the custodian {custodian} had been taken out before")),
            Some(Some(known)) if *known != as_said => {
                return wrong(format!("the custodian {custodian} was appointed as another than it says"));
            }
            _ if self.all.as_ref().is_some_and(|all| !all.contains(named)) => {
                return wrong(format!("the vault had no custodian {custodian}"));
            }
            _ => {}
        }
        let good = match kind {
            Kind::Shares { count, threshold, .. } => {
                shares.len() == usize::from(*threshold)
                    && shares.iter().all(|index| (1..=*count).contains(index))
                    && shares.is_sorted_by(|one, next| one < next)
            }
            _ => shares.is_empty(),
        };
        if good { Ok(()) } else { wrong(format!("the shares {shares:?} are not those that the custodian takes")) }
    }
}
