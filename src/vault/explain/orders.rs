//! What a grant or its end would do, before it is given or taken: the order's own transaction, carried through and undone.

use serde_json::{Map, Value, json};

use super::{Asking, Vault};
use crate::denial::{Denial, Reason};
use crate::grant::Grant;
use crate::statement::explain::{NewGrant, Supposed};
use crate::store::{Failure, Foresight};
use crate::time::Seconds;

type Told = Result<Map<String, Value>, Denial>;

impl Vault {
    /// What a new grant would allow and change, and what a request under it would get that asks for its role and no more.
    pub(super) async fn grant_foretold(&self, asking: &Asking, new: &NewGrant) -> Told {
        let wanted = &new.grant;
        Vault::good_terms(&wanted.terms, asking.at())?;
        let agent = self.store.agent(&wanted.agent).await;
        let agent = match agent {
            Ok(agent) => agent,
            Err(Failure::Denied(denial)) if denial.reason == Reason::Quarantined => None,
            Err(failure) => return Err(failure.denial()),
        };
        // What the trail would name it, unless something else is entered before.
        let seq = agent.as_ref().map_or(0, |(_, seen)| seen.size);
        let now = agent.and_then(|(agent, _)| agent.grants.iter().find(|grant| grant.role == wanted.role).cloned());
        let grant = Grant {
            agent: wanted.agent.clone(),
            role: wanted.role.clone(),
            terms: wanted.terms.clone(),
            seq,
            since: asking.at(),
        };
        let supposed = Supposed {
            agent: wanted.agent.clone(),
            role: wanted.role.clone(),
            ttl: Seconds(0),
            params: Map::new(),
            from: None,
            at: None,
            sid: None,
            probe: new.probe,
        };
        let (checks, told) = self.explained(asking, &supposed, Some(grant)).await?;
        let (order, wanting) = match told.and_then(|told| Some((told.order?, told.wanting))) {
            Some(foretold) => foretold,
            None => self.order_alone(asking).await?,
        };
        let mut told = outcome(order, wanting);
        told.insert("agent".to_owned(), json!(wanted.agent));
        told.insert("role".to_owned(), json!(wanted.role));
        told.insert("terms".to_owned(), json!(wanted.terms));
        told.insert("present".to_owned(), json!(now.map(|grant| grant.terms)));
        told.insert("request".to_owned(), Value::Object(checks.told()));
        Ok(told)
    }

    async fn order_alone(&self, asking: &Asking) -> Result<(Told, Option<(u64, u64)>), Denial> {
        let foresight = Foresight { question: asking, of: None, request: None };
        let told = self.store.foresee(&foresight).await.map_err(Failure::denial)?;
        let order = told.order.ok_or_else(|| Denial::new(Reason::Internal).internal("a question without its order"))?;
        Ok((order, told.wanting))
    }

    /// Which leases would end with a grant.
    pub(super) async fn revoke_foretold(&self, asking: &Asking) -> Told {
        let foresight = Foresight { question: asking, of: None, request: None };
        let told = self.store.foresee(&foresight).await.map_err(Failure::denial)?;
        let order = told.order.unwrap_or_else(|| Err(Reason::Internal.into()));
        let mut shown = outcome(order, told.wanting);
        shown.insert("ends".to_owned(), Value::Array(Vault::leases_shown(&told.ends)));
        Ok(shown)
    }
}

/// What would come of an order, for which so many operators in all and so many more are wanted.
fn outcome(order: Told, wanting: Option<(u64, u64)>) -> Map<String, Value> {
    let (verdict, result, refused) = match (order, wanting) {
        (Ok(result), None) => ("done", result, None),
        (Ok(result), Some((persons, missing))) => {
            let detail = format!("it takes {persons} operators: {missing} more would have to approve it");
            ("waits", result, Some(Denial::new(Reason::NeedsApproval).detail(detail)))
        }
        (Err(denial), _) => ("refused", Map::new(), Some(denial)),
    };
    let why = refused.as_ref().map(Denial::why);
    let mut told = result;
    told.insert("verdict".to_owned(), json!(verdict));
    told.insert("reason".to_owned(), json!(refused.map(|denial| denial.reason.code())));
    told.insert("why".to_owned(), json!(why));
    told
}
