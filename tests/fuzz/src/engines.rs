//! Roles and parameters of every engine.

use std::sync::{Arc, OnceLock};

use nockvault::crypto::json::{Admission, admit_as};
use nockvault::engine::jwt::{Jwt, TokenKeys};
use nockvault::engine::{Engines, all};
use nockvault::entropy::Entropy;
use serde::Deserialize;
use serde_json::{Map, Value};

use super::world;

#[derive(Deserialize)]
struct Asked {
    engine: String,
    config: Map<String, Value>,
    #[serde(default)]
    params: Map<String, Value>,
}

fn engines() -> &'static Engines {
    static ENGINES: OnceLock<Engines> = OnceLock::new();
    ENGINES.get_or_init(|| {
        let entropy: Arc<dyn Entropy> = Arc::new(world::entropy());
        let mut engines = all(&entropy, &world::aud());
        engines.push(Box::new(Jwt::new(TokenKeys::one(world::key(3)), "https://vault.example".to_owned())));
        Engines::new(engines)
    })
}

/// `{"engine","config","params"}`, admitted as the statement is in which it comes: a role is found good or told what is not, and so are a request's parameters.
pub(super) fn engine(data: &[u8]) -> bool {
    let Ok(asked) = admit_as::<Asked>(data, &Admission::OPERATOR) else { return false };
    let engine = match engines().of_kind(&asked.engine) {
        Ok(engine) => engine,
        Err(denial) => {
            super::told(denial.detail);
            return false;
        }
    };
    let role = engine.check_role(&asked.config);
    let params = engine.check_params(&asked.config, &asked.params);
    let _ = engine.admin_secret(&asked.config);
    role.is_ok() && params.is_ok()
}
