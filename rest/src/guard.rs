//! What every request passes first: who asks, and whether they may.

use axum::extract::{Request, State};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use http::request::Parts;
use serde_json::json;

use crate::answer::Answer;
use crate::api::{Api, Shared, now};
use crate::caller::Caller;
use crate::error::ApiError;
use crate::needs::Needs;
use crate::{cluster, tokens};

pub(crate) async fn guard(State(api): Shared, request: Request, next: Next) -> Response {
    let (mut parts, body) = request.into_parts();
    match who(&api, &parts).and_then(|caller| may(&caller, &parts).map(|()| caller)) {
        Ok(caller) => {
            parts.extensions.insert(caller);
            next.run(Request::from_parts(parts, body)).await
        }
        Err(refused) => refused.into_response(),
    }
}

/// A token counts wherever it comes from: a caller on this host who shows one is who it says.
fn who(api: &Api, parts: &Parts) -> Result<Caller, ApiError> {
    let shown = tokens::caller(&parts.headers, &api.store.snapshot(), now())?;
    let caller = match shown {
        Some(caller) => caller,
        None if api.localhost_is_admin => Caller::by_address(parts),
        None => Caller::anonymous(),
    };
    Ok(caller.bound_by(api.roles.borrow().clone()))
}

fn may(caller: &Caller, parts: &Parts) -> Result<(), ApiError> {
    match Needs::of(&parts.method, &parts.uri).missing(caller) {
        None => Ok(()),
        Some(_) if caller.is_anonymous() => Err(ApiError::unauthenticated(
            "this needs a user token, sent as \"Authorization: Bearer TOKEN\": an administrator \
             makes one with `higuma generate user-token`, and `higuma` sends it by --token-file, \
             HIGUMA_TOKEN or its context",
        )),
        Some(why) => Err(ApiError::forbidden(caller, why)),
    }
}

/// `GET /who-am-i`, as in Kuma.
pub(crate) async fn who_am_i(State(api): Shared, request: Request) -> Answer {
    let caller = Caller::of(&request.into_parts().0);
    let groups: Vec<&str> = caller.groups.iter().map(|group| &**group).collect();
    cluster::answer(&api, json!({"name": *caller.name, "groups": groups}))
}
