//! `POST /_transactions`: several changes, each admitted on the state that those before it lead to,
//! and all of them applied as one entry of the log, or none.

mod asked;

use axum::body::Body;
use axum::extract::{Request, State};
use axum::response::{IntoResponse, Response};
use higuma_model::{
    Admission, Effect, Key, Origin, Refusal, Rejection, Scope, Snapshot, Terms, Timestamp,
    Together, Transaction, Violation, render,
};
use higuma_store::{Consistency, WriteError, preview};
use http::request::Parts;
use http::{Method, StatusCode, Uri, header};
use serde_json::{Value, json};

use crate::answer::Answer;
use crate::api::{Api, Shared, now};
use crate::body;
use crate::caller::Caller;
use crate::error::{ApiError, Doing};
use crate::idempotency::{Named, effect, modified_at};
use crate::mutant::Mutant;
use crate::needs::to_write;
use crate::origin;
use crate::write::{MAX_ROUNDS, provide, random};
use asked::{Asked, Change};

const DOING: Doing = Doing::Transact;

pub(crate) async fn transactions(State(api): Shared, request: Request) -> Response {
    if request.method() != Method::POST {
        let why = format!("{} is not served for /_transactions; POST is", request.method());
        return ApiError::not_allowed(why).into_response();
    }
    let (parts, body) = request.into_parts();
    post(&api, &parts, body).await.into_response()
}

async fn post(api: &Api, parts: &Parts, body: Body) -> Result<Answer, ApiError> {
    let query = Query::parse(&parts.uri).map_err(|wrong| ApiError::invalid(DOING, wrong))?;
    for name in [header::IF_MATCH, header::IF_NONE_MATCH] {
        if parts.headers.contains_key(&name) {
            let reason = "a transaction has conditions for each operation: ifMatch, ifAbsent";
            return Err(ApiError::invalid(DOING, vec![violation(name.as_str(), reason)]));
        }
    }
    body::only_json(&parts.headers)?;
    let body = body::read(body).await?;
    let named = Named::read(DOING, parts, &body)?;
    let named = named.filter(|_| api.mutant != Some(Mutant::ForgetKeys));
    if query.dry_run && named.is_some() {
        let reason = "a dry run writes nothing that could be repeated: leave it out";
        return Err(ApiError::invalid(DOING, vec![violation("Idempotency-Key", reason)]));
    }
    let asked = asked::parse(body::json(&body)?, query.strict)
        .map_err(|wrong| ApiError::invalid(DOING, wrong))?;
    may(&Caller::of(parts), &asked)?;
    let origin = origin::of(api, DOING, parts)?;
    apply(api, &Work { asked, query, named, origin }).await
}

/// Every operation by itself, before any is looked at.
fn may(caller: &Caller, asked: &[Asked]) -> Result<(), ApiError> {
    for (at, one) in asked.iter().enumerate() {
        let deletes = matches!(one.change, Change::Delete);
        if let Some(why) = caller.lacks(&to_write(&one.key, deletes)) {
            let refused = ApiError::forbidden(caller, why);
            return Err(refused.within(DOING, &one.place(at), &one.what()));
        }
    }
    Ok(())
}

/// A transaction that can be read.
struct Work {
    asked: Vec<Asked>,
    query: Query,
    named: Option<Named>,
    origin: Origin,
}

async fn apply(api: &Api, work: &Work) -> Result<Answer, ApiError> {
    for round in 1.. {
        let read = api.store.read(Consistency::Linearizable).await;
        let snapshot = read.map_err(|error| (DOING, error))?;
        if let Some(named) = &work.named
            && let Some(first) = named.first(DOING, &snapshot)?
        {
            return Ok(Answer { replayed: true, ..work.answer(&first.effects, first.version) });
        }
        let now = now();
        let plan = work.plan(api, &snapshot, now)?;
        if work.query.dry_run {
            return plan.shown(work, &snapshot);
        }
        if plan.transaction.operations.is_empty() && work.named.is_none() {
            return Ok(work.answer(&plan.effects, snapshot.version()));
        }
        let written = match api.mutant {
            Some(Mutant::SplitTransaction) => in_two(api, &plan.transaction, &work.origin).await,
            _ => api.store.write_from(&plan.transaction, &work.origin).await,
        };
        match written {
            Ok(version) => {
                let have = api.store.snapshot();
                if let Some(named) = &work.named
                    && let Some(first) = named.first(DOING, &have)?
                {
                    let replayed = first.id != plan.transaction.id;
                    return Ok(Answer { replayed, ..work.answer(&first.effects, first.version) });
                }
                return Ok(work.answer(&plan.effects, version));
            }
            Err(WriteError::Refused(Refusal::Stale { what })) if round < MAX_ROUNDS => {
                tracing::debug!(what, "admitted again: the state changed");
            }
            Err(WriteError::Refused(refusal)) => return Err(work.refused(&refusal)),
            Err(error) => return Err((DOING, error).into()),
        }
    }
    unreachable!("the last round returns")
}

/// A deliberate defect: the first half by itself, then the rest, whatever became of the state.
async fn in_two(api: &Api, transaction: &Transaction, origin: &Origin) -> Result<u64, WriteError> {
    let (first, rest) = transaction.operations.split_at(transaction.operations.len() / 2);
    let id = api.store.snapshot().request_id(transaction.at, random());
    let terms = Terms::default();
    let first = Transaction { id, operations: first.to_vec(), terms, ..transaction.clone() };
    api.store.write_from(&first, origin).await?;
    let (demands, checks) = (Vec::new(), Vec::new());
    let operations = rest.to_vec();
    let rest = Transaction { demands, checks, operations, ..transaction.clone() };
    api.store.write_from(&rest, origin).await
}

/// What a transaction would do to one state.
struct Plan {
    transaction: Transaction,
    effects: Vec<Effect>,
    after: Snapshot,
}

impl Work {
    fn plan(&self, api: &Api, before: &Snapshot, now: Timestamp) -> Result<Plan, ApiError> {
        let id = before.request_id(now, random());
        let (place, strict) = (&api.place, self.query.strict);
        let first = Admission { snapshot: before, place, id, now, strict };
        let mut together = Together::new(&first);
        let mut effects = Vec::with_capacity(self.asked.len());
        let mut state = before.clone();
        for (at, asked) in self.asked.iter().enumerate() {
            let wrong = |error: ApiError| error.within(DOING, &asked.place(at), &asked.what());
            let rejected = |why: Rejection| wrong(ApiError::rejected(DOING, why));
            let admission = Admission { snapshot: &state, ..first };
            let admitted = match &asked.change {
                Change::Put { document, .. } => admission.put(document.clone(), asked.precondition),
                Change::Delete => admission.delete(&asked.key, asked.precondition),
            };
            let mut admitted = admitted.map_err(rejected)?;
            provide(api, &mut admitted)?;
            let next = match &admitted.transaction {
                Some(transaction) => preview(&state, transaction)
                    .map_err(|refusal| wrong(ApiError::refused(DOING, &refusal)))?,
                None => state.clone(),
            };
            together.add(&state, &asked.key, admitted).map_err(rejected)?;
            effects.push(effect(&asked.key, &state, &next));
            state = next;
        }
        let mut transaction = together.transaction();
        transaction.terms.quota = Some(api.quota);
        transaction.terms.idempotency = self.named.map(|named| named.with(&effects));
        Ok(Plan { transaction, effects, after: state })
    }

    fn answer(&self, effects: &[Effect], version: u64) -> Answer {
        let each = self.asked.iter().zip(effects);
        let operations: Vec<Value> =
            each.map(|(asked, effect)| described(asked, *effect, version)).collect();
        let body = json!({"version": version, "operations": operations});
        Answer { status: StatusCode::OK, version, modified_at: None, body, replayed: false }
    }

    /// Why nothing was applied, by the operation that it is about, if it is about one.
    fn refused(&self, refusal: &Refusal) -> ApiError {
        let error = ApiError::refused(DOING, refusal);
        let (Refusal::Demand { key, .. } | Refusal::Foreign { key, .. }) = refusal else {
            return error;
        };
        match self.asked.iter().enumerate().find(|(_, asked)| asked.key == *key) {
            Some((at, asked)) => error.within(DOING, &asked.place(at), &asked.what()),
            None => error,
        }
    }
}

impl Plan {
    /// What would change: each resource before and after.
    fn shown(&self, work: &Work, before: &Snapshot) -> Result<Answer, ApiError> {
        // Applied as it would be, so that what is refused only there is refused here.
        let after = preview(before, &self.transaction).map_err(|refusal| work.refused(&refusal))?;
        let mut answer = work.answer(&self.effects, before.version());
        let operations = answer.body["operations"].as_array_mut().into_iter().flatten();
        for (shown, (asked, effect)) in operations.zip(work.asked.iter().zip(&self.effects)) {
            let was = before.get(&asked.key);
            // What a later write must find, to be the one that was looked at.
            shown["modifiedAt"] = json!(was.map(|resource| resource.modified_at));
            if matches!(effect, Effect::Updated | Effect::Deleted) {
                shown["before"] = was.map_or(Value::Null, |resource| render(resource));
            }
            if matches!(effect, Effect::Updated | Effect::Created) {
                let is = self.after.get(&asked.key);
                shown["after"] = is.map_or(Value::Null, |resource| render(resource));
            }
        }
        let asked_for = |key: &Key| work.asked.iter().any(|asked| asked.key == *key);
        let gone = after.since(before).removed;
        let also = gone.iter().filter(|resource| !asked_for(&resource.key)).count();
        answer.body["dryRun"] = json!(true);
        answer.body["alsoDeleted"] = json!(also);
        Ok(answer)
    }
}

fn described(asked: &Asked, effect: Effect, version: u64) -> Value {
    let result = match effect {
        Effect::Created => "created",
        Effect::Updated => "updated",
        Effect::Unchanged { .. } => "unchanged",
        Effect::Deleted => "deleted",
    };
    let mut shown = json!({"result": result, "type": asked.key.kind().name()});
    if asked.key.kind().scope() == Scope::Mesh {
        shown["mesh"] = asked.key.mesh().into();
    }
    shown["name"] = asked.key.name().into();
    shown["modifiedAt"] = json!(modified_at(effect, version));
    if let Change::Put { warnings, .. } = &asked.change
        && !warnings.is_empty()
    {
        shown["warnings"] = json!(warnings);
    }
    shown
}

/// What the URL may ask for; anything else is refused.
#[derive(Debug, Default, PartialEq, Eq)]
struct Query {
    dry_run: bool,
    strict: bool,
}

impl Query {
    fn parse(uri: &Uri) -> Result<Self, Vec<Violation>> {
        let pairs = axum::extract::Query::<Vec<(String, String)>>::try_from_uri(uri)
            .map_err(|error| vec![violation("", error.to_string())])?;
        let mut query = Self::default();
        let mut wrong = Vec::new();
        for (key, value) in &pairs.0 {
            let field = match &**key {
                "dry-run" => &mut query.dry_run,
                "strict" => &mut query.strict,
                _ => {
                    wrong.push(violation(key, "is not supported here; dry-run and strict are"));
                    continue;
                }
            };
            match value.parse() {
                Ok(value) => *field = value,
                Err(_) => wrong.push(violation(key, "must be true or false")),
            }
        }
        if wrong.is_empty() { Ok(query) } else { Err(wrong) }
    }
}

fn violation(field: &str, reason: impl Into<String>) -> Violation {
    Violation { field: field.to_owned(), reason: reason.into() }
}

#[cfg(test)]
mod tests;
