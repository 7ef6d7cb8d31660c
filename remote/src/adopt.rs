//! What the operator of a zone asks of it over REST: how it stands to its global, what would change
//! if it followed that anew, and to do so.
//!
//! ```text
//! GET  /_kds             the state, and why it is fenced
//! GET  /_kds/difference  asks the global what it has; names the position at which it has it
//! POST /_kds/adopt       follows the global from exactly that position
//! ```

use std::sync::Arc;

use higuma_kds::batch::{Position, Verdict};
use higuma_kds::{AdoptError, Adoption, ClientState, LookError, Named, Offer};
use higuma_model::{ClusterId, Owner};
use higuma_rest::ApiError;
use higuma_serve::axum::Router;
use higuma_serve::axum::extract::rejection::JsonRejection;
use higuma_serve::axum::extract::{DefaultBodyLimit, Json, State};
use higuma_serve::axum::http::StatusCode;
use higuma_serve::axum::routing::{any, get, post};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::zone::Zone;

/// Names that one list of a difference shows; the rest is counted.
const MAX_NAMED: usize = 200;

/// A position is some hundred bytes.
const MAX_BODY: usize = 4 << 10;

const LOOK: &str = "Could not compare with the global";
const ADOPT: &str = "Could not adopt the global";

#[derive(Clone)]
struct Desk {
    zone: Arc<Zone>,
    adoption: Arc<Adoption>,
}

pub(crate) fn router(zone: Arc<Zone>, adoption: Arc<Adoption>) -> Router {
    Router::new()
        .route("/_kds", get(state))
        .route("/_kds/difference", get(difference))
        .route("/_kds/adopt", post(adopt))
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(Desk { zone, adoption })
}

/// What a standalone zone answers to the same.
pub(crate) fn no_global() -> Router {
    let refused =
        || async { ApiError::bad_request("this zone is standalone: it follows no global") };
    ["/_kds", "/_kds/difference", "/_kds/adopt"]
        .into_iter()
        .fold(Router::new(), |router, path| router.route(path, any(refused)))
}

/// A position as it is written: epoch and cluster in hexadecimal.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stand {
    cluster: String,
    epoch: String,
    version: u64,
}

impl From<Position> for Stand {
    fn from(position: Position) -> Self {
        Self {
            cluster: position.cluster.to_string(),
            epoch: format!("{:016x}", position.epoch),
            version: position.version,
        }
    }
}

impl Stand {
    fn position(&self) -> Result<Position, ApiError> {
        let digits =
            |text: &str, n: usize| text.len() == n && text.bytes().all(|c| c.is_ascii_hexdigit());
        if !digits(&self.cluster, 32) || !digits(&self.epoch, 16) {
            return Err(ApiError::bad_request(
                "cluster is 32 and epoch 16 hexadecimal digits, as GET /_kds/difference offers them",
            ));
        }
        let wrong = |error: std::num::ParseIntError| ApiError::bad_request(error.to_string());
        Ok(Position {
            cluster: ClusterId(u128::from_str_radix(&self.cluster, 16).map_err(wrong)?),
            epoch: u64::from_str_radix(&self.epoch, 16).map_err(wrong)?,
            version: self.version,
        })
    }
}

async fn state(State(desk): State<Desk>) -> Json<Value> {
    Json(desk.stands())
}

async fn difference(State(desk): State<Desk>) -> Result<Json<Value>, ApiError> {
    let offer = desk.adoption.look().await.map_err(|error| {
        let status = match error {
            LookError::Nothing => StatusCode::CONFLICT,
            LookError::Unreachable(_) => StatusCode::SERVICE_UNAVAILABLE,
        };
        ApiError::new(status, LOOK, error.to_string())
    })?;
    let mut body = desk.stands();
    body["followed"] = json!(Stand::from(offer.replaces));
    body["offered"] = json!(Stand::from(offer.position));
    body["difference"] = shown(&offer);
    Ok(Json(body))
}

async fn adopt(
    State(desk): State<Desk>,
    named: Result<Json<Stand>, JsonRejection>,
) -> Result<Json<Value>, ApiError> {
    let Json(named) = named.map_err(|why| ApiError::bad_request(why.body_text()))?;
    let adopted = desk.adoption.adopt(named.position()?).await;
    let offer = adopted.map_err(|error| {
        let (status, title) = match error {
            AdoptError::NotShown | AdoptError::Another(_) => (StatusCode::CONFLICT, ADOPT),
            AdoptError::Unwritten(_) | AdoptError::Unreachable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, ADOPT)
            }
            AdoptError::Unknown => (StatusCode::GATEWAY_TIMEOUT, "Fate unknown"),
        };
        ApiError::new(status, title, error.to_string())
    })?;
    Ok(Json(json!({
        "zone": *desk.zone.name,
        "adopted": Stand::from(offer.position),
        "difference": shown(&offer),
    })))
}

impl Desk {
    fn stands(&self) -> Value {
        let (state, reason) = match self.adoption.state() {
            ClientState::Connecting { last_error } => ("Connecting", last_error),
            ClientState::Syncing => ("Syncing", None),
            ClientState::Synced { .. } => ("Synced", None),
            ClientState::Fenced { reason } => ("Fenced", Some(reason)),
        };
        let followed = self.zone.store.snapshot().upstream().map(Stand::from);
        json!({"zone": *self.zone.name, "state": state, "reason": reason, "followed": followed})
    }
}

fn shown(offer: &Offer) -> Value {
    json!({
        "added": named(&offer.added),
        "changed": named(&offer.changed),
        "removed": named(&offer.removed),
        "kept": named(&offer.kept),
        "refused": refused(&offer.refused),
    })
}

fn named(list: &[Named]) -> Value {
    let one = |named: &Named| {
        let zone = match &named.owner {
            Owner::Global => None,
            Owner::Zone(zone) => Some(zone.to_string()),
        };
        json!({
            "type": named.key.kind().name(),
            "mesh": named.key.mesh(),
            "name": named.display_name,
            "zone": zone,
        })
    };
    let items: Vec<Value> = list.iter().take(MAX_NAMED).map(one).collect();
    json!({"total": list.len(), "items": items})
}

fn refused(verdicts: &[Verdict]) -> Value {
    let one =
        |v: &Verdict| json!({"type": v.r#type, "mesh": v.mesh, "name": v.name, "reason": v.reason});
    let items: Vec<Value> = verdicts.iter().take(MAX_NAMED).map(one).collect();
    json!({"total": verdicts.len(), "items": items})
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_position_is_read_as_it_is_written_and_nothing_else_is() {
        let position = Position { cluster: ClusterId(0xabc), epoch: u64::MAX, version: 7 };
        let stand = Stand::from(position);
        assert_eq!(stand.position().unwrap(), position);
        for (cluster, epoch) in [
            ("", "0000000000000001"),
            ("+0000000000000000000000000000abc", "0000000000000001"),
            ("00000000000000000000000000000abc", "1"),
            ("00000000000000000000000000000abc", "-000000000000001"),
        ] {
            let stand = Stand { cluster: cluster.into(), epoch: epoch.into(), version: 1 };
            assert!(stand.position().is_err(), "{stand:?}");
        }
    }
}
