//! PUT and DELETE: admission against a fresh snapshot, then one transaction.

use axum::body::Body;
use higuma_model::{
    Admission, Admitted, Document, Effect, Expected, Key, Need, Origin, Refusal, Rejection,
    RequestId, Snapshot, check,
};
use higuma_store::{Consistency, WriteError, preview};
use http::StatusCode;
use http::request::Parts;
use serde_json::json;

use crate::answer::Answer;
use crate::api::{Api, now};
use crate::body;
use crate::error::{ApiError, Doing};
use crate::idempotency::{Named, effect, modified_at};
use crate::origin;
use crate::query::Query;

/// Rounds of admission when the state changes under it.
pub(crate) const MAX_ROUNDS: u32 = 3;

/// One change that is asked for.
struct Wish<'a> {
    doing: Doing,
    key: &'a Key,
    strict: bool,
    named: Option<Named>,
    origin: Origin,
    /// What is said of the document when the request is answered from memory.
    warnings: Vec<String>,
}

pub(crate) async fn put(
    api: &Api,
    key: &Key,
    request: &Parts,
    body: Body,
) -> Result<Answer, ApiError> {
    let doing = Doing::Put;
    let query = Query::parse(&request.uri).map_err(|wrong| ApiError::invalid(doing, wrong))?;
    let precondition = body::precondition(&request.headers)?;
    body::only_json(&request.headers)?;
    let body = body::read(body).await?;
    let named = Named::read(doing, request, &body)?;
    let expected = Expected { kind: key.kind(), mesh: key.mesh(), name: key.name() };
    let document = Document::parse_at(body::json(&body)?, expected)
        .map_err(|wrong| ApiError::invalid(doing, wrong))?;
    let warnings = match named.map(|_| check(&document, query.strict)) {
        Some(Ok(checked)) => checked.warnings,
        // What is wrong with it is admission's to say.
        Some(Err(_)) | None => Vec::new(),
    };
    let origin = origin::of(api, doing, request)?;
    let wish = Wish { doing, key, strict: query.strict, named, warnings, origin };
    admitted(api, wish, |admission| admission.put(document.clone(), precondition)).await
}

pub(crate) async fn delete(api: &Api, key: &Key, request: &Parts) -> Result<Answer, ApiError> {
    let doing = Doing::Delete;
    let query = Query::parse(&request.uri).map_err(|wrong| ApiError::invalid(doing, wrong))?;
    let precondition = body::precondition(&request.headers)?;
    let named = Named::read(doing, request, &[])?;
    let origin = origin::of(api, doing, request)?;
    let wish = Wish { doing, key, strict: query.strict, named, warnings: Vec::new(), origin };
    admitted(api, wish, |admission| admission.delete(key, precondition)).await
}

/// Admits against what is known for certain, and again when that changed meanwhile.
async fn admitted(
    api: &Api,
    wish: Wish<'_>,
    admit: impl Fn(&Admission<'_>) -> Result<Admitted, Rejection>,
) -> Result<Answer, ApiError> {
    let (doing, key) = (wish.doing, wish.key);
    for round in 1.. {
        // Not a stale one: a mesh that was acknowledged on another node is there, and "nothing
        // to change" is said of the state as it is.
        let read = api.store.read(Consistency::Linearizable).await;
        let snapshot = read.map_err(|error| (doing, error))?;
        let now = now();
        let id = snapshot.request_id(now, random());
        if let Some(answer) = wish.remembered(&snapshot, id)? {
            return Ok(answer);
        }
        let (place, strict) = (&api.place, wish.strict);
        let admission = Admission { snapshot: &snapshot, place, id, now, strict };
        let mut admitted = admit(&admission).map_err(|why| ApiError::rejected(doing, why))?;
        provide(api, &mut admitted)?;
        if let Some(named) = &wish.named {
            // Remembered though it may change nothing: at the time of a retry it might.
            let transaction = admitted.transaction.get_or_insert_with(|| admission.note(key));
            let after = preview(&snapshot, transaction);
            let after = after.map_err(|refusal| ApiError::refused(doing, &refusal))?;
            let effects = [effect(key, &snapshot, &after)];
            transaction.terms.idempotency = Some(named.with(&effects));
        }
        let Some(transaction) = &mut admitted.transaction else {
            let have = snapshot.get(key).map(|resource| resource.modified_at);
            return Ok(answer(admitted.created, &admitted.warnings, snapshot.version(), have));
        };
        transaction.terms.quota = Some(api.quota);
        match api.store.write_from(transaction, &wish.origin).await {
            Ok(version) => {
                let have = api.store.snapshot();
                if let Some(answer) = wish.remembered(&have, id)? {
                    return Ok(answer);
                }
                let have = have.get(key).map(|resource| tag(version, resource.modified_at));
                return Ok(answer(admitted.created, &admitted.warnings, version, have));
            }
            Err(WriteError::Refused(Refusal::Stale { what })) if round < MAX_ROUNDS => {
                tracing::debug!(%key, what, "admitted again: the state changed");
            }
            Err(error) => return Err((doing, error).into()),
        }
    }
    unreachable!("the last round returns")
}

impl Wish<'_> {
    /// What the first request under this one's name was answered; by `id` it is told whether that
    /// was this one.
    fn remembered(&self, snapshot: &Snapshot, id: RequestId) -> Result<Option<Answer>, ApiError> {
        let Some(named) = &self.named else { return Ok(None) };
        let Some(first) = named.first(self.doing, snapshot)? else { return Ok(None) };
        let Some(effect) = first.effects.first().copied() else { return Ok(None) };
        let have = modified_at(effect, first.version);
        let answer = answer(effect == Effect::Created, &self.warnings, first.version, have);
        Ok(Some(Answer { replayed: first.id != id, ..answer }))
    }
}

/// The ETag of what was written at `version` where the state now has `have`. A later one is
/// somebody else's: whoever got it would replace, by `If-Match`, what they never saw. (An earlier
/// one: the write was equal to what was there.)
fn tag(version: u64, have: u64) -> u64 {
    have.min(version)
}

pub(crate) fn provide(api: &Api, admitted: &mut Admitted) -> Result<(), ApiError> {
    for need in admitted.needs.clone() {
        let Need::BuiltinCa { mesh, backend } = need;
        let pair = api.authority.builtin_ca(&mesh, &backend).map_err(|why| {
            let detail = format!("no CA could be made for mesh {mesh}: {why}");
            ApiError::new(StatusCode::INTERNAL_SERVER_ERROR, "Internal Server Error", detail)
        })?;
        let (certificate, key) = (pair.certificate_pem.as_bytes(), pair.key_pem.as_bytes());
        admitted.provide_ca(&mesh, &backend, certificate, key);
    }
    Ok(())
}

fn answer(created: bool, warnings: &[String], version: u64, modified_at: Option<u64>) -> Answer {
    let status = if created { StatusCode::CREATED } else { StatusCode::OK };
    let body = if warnings.is_empty() { json!({}) } else { json!({"warnings": warnings}) };
    Answer { status, version, modified_at, body, replayed: false }
}

/// Tells requests of one millisecond apart; std's hasher keys come from the system.
pub(crate) fn random() -> u64 {
    use std::hash::{BuildHasher, RandomState};
    RandomState::new().hash_one(now().0)
}
