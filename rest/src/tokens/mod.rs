//! User tokens: JWTs signed with RS256, with Kuma's claims, by keys that this control plane keeps
//! in its state.
//!
//! A token says who somebody is, not what they may do. What is of use to it is replicated: any
//! node issues and judges tokens, also without a leader to ask.

mod key;
mod routes;
mod state;
#[cfg(test)]
mod tests;

use higuma_model::{Snapshot, Timestamp, rfc3339};
use http::{HeaderMap, header};
use serde::{Deserialize, Serialize};

use crate::caller::{self, Caller};
use crate::error::ApiError;

pub(crate) use routes::router;

/// A token with 64 groups of the longest names takes some 24 KiB as base64; no proxy passes a
/// header of that size on. This holds a hundred usual groups.
pub(crate) const MAX_TOKEN_BYTES: usize = 8 << 10;
/// How far behind the clock of a node may be that judges a token which was just issued (Kuma's).
const CLOCK_SLACK: i64 = 5;
/// What signs: nothing else is accepted, whatever a token says.
const ALGORITHM: &str = "RS256";

/// What a token says; Kuma's names. Times are in Unix seconds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Claims {
    #[serde(rename = "Name")]
    name: String,
    /// Kuma writes none as null.
    #[serde(rename = "Groups", default)]
    groups: Option<Vec<String>>,
    exp: i64,
    nbf: i64,
    iat: i64,
    /// Its identity, by which it is revoked.
    jti: String,
}

#[derive(Debug, Serialize, Deserialize)]
struct Head {
    alg: String,
    #[serde(default)]
    kid: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    typ: Option<String>,
    /// Extensions that must be understood (RFC 7515): none are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    crit: Option<serde_json::Value>,
}

/// Why a token proves nothing. It never shows the token.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum BadToken {
    #[error("the token has {0} bytes; at most {MAX_TOKEN_BYTES} are read")]
    TooLarge(usize),
    #[error("what was sent as a token is none: {0}")]
    Malformed(&'static str),
    #[error("the token is not signed with {ALGORITHM}")]
    Algorithm,
    #[error(
        "signing key {0:?} is not known here: the token is of another control plane, or the key was deleted"
    )]
    UnknownKey(String),
    #[error("the token's signature is not that of its signing key")]
    Signature,
    #[error("the token ended at {0}")]
    Ended(String),
    #[error("the token begins at {0}: are clocks apart?")]
    NotYet(String),
    #[error("the token is revoked")]
    Revoked,
}

impl Claims {
    fn caller(&self) -> Caller {
        let groups = self.groups.iter().flatten().map(String::as_str);
        Caller::known(&self.name, groups.chain([caller::AUTHENTICATED]))
    }
}

/// Who a request's token says that they are; none without a token.
pub(crate) fn caller(
    headers: &HeaderMap,
    snapshot: &Snapshot,
    now: Timestamp,
) -> Result<Option<Caller>, ApiError> {
    let mut given = headers.get_all(header::AUTHORIZATION).iter();
    let Some(value) = given.next() else { return Ok(None) };
    let text = value.to_str().unwrap_or_default().trim();
    let (scheme, token) = text.split_once(' ').unwrap_or((text, ""));
    if given.next().is_some() || !scheme.eq_ignore_ascii_case("bearer") {
        return Err(ApiError::unauthenticated(
            "Authorization must be there once, as \"Bearer TOKEN\"",
        ));
    }
    match verify(token.trim(), snapshot, now) {
        Ok(claims) => Ok(Some(claims.caller())),
        Err(why) => Err(ApiError::unauthenticated(format!(
            "{why}. Get a new one by `higuma generate user-token` of an administrator; on the \
             control plane's own host none is needed"
        ))),
    }
}

/// Whether a token was issued here and is good now.
fn verify(token: &str, snapshot: &Snapshot, now: Timestamp) -> Result<Claims, BadToken> {
    if token.len() > MAX_TOKEN_BYTES {
        return Err(BadToken::TooLarge(token.len()));
    }
    let shape = BadToken::Malformed("it has not the form of a JWT");
    let mut parts = token.split('.');
    let (Some(head), Some(claims), Some(signature), None) =
        (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return Err(shape);
    };
    let signed = &token[..head.len() + 1 + claims.len()];
    let head: Head = key::read(head).ok_or_else(|| shape.clone())?;
    if head.alg != ALGORITHM {
        return Err(BadToken::Algorithm);
    }
    if head.crit.is_some() {
        return Err(BadToken::Malformed("it demands extensions of JWT, and none are supported"));
    }
    let kid = head.kid.ok_or(BadToken::Malformed("it names no signing key"))?;
    let key = state::signing_key(snapshot, &kid);
    let key = key.ok_or_else(|| BadToken::UnknownKey(kid.chars().take(32).collect()))?;
    let signature = key::bytes(signature).ok_or(shape)?;
    key::verify(key, signed.as_bytes(), &signature).ok_or(BadToken::Signature)?;
    // Signed by us: what does not read is of another version, not of an attacker.
    let claims: Claims =
        key::read(claims).ok_or(BadToken::Malformed("its claims are not those of a user token"))?;
    let seconds = now.0.div_euclid(1000);
    if seconds >= claims.exp {
        return Err(BadToken::Ended(shown(claims.exp)));
    }
    if seconds < claims.nbf {
        return Err(BadToken::NotYet(shown(claims.nbf)));
    }
    if state::is_revoked(snapshot, &claims.jti) {
        return Err(BadToken::Revoked);
    }
    Ok(claims)
}

/// A time in Unix seconds.
fn shown(seconds: i64) -> String {
    rfc3339(Timestamp(seconds.saturating_mul(1000)))
}
