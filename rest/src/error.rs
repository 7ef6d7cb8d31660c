//! What is answered when something is wrong: Kuma's error JSON (its REST API, Errors).

use std::fmt;

use axum::response::{IntoResponse, Response};
use higuma_model::{Refusal, Rejection, Violation};
use higuma_store::{HistoryError, ReadError, WriteError};
use http::{HeaderValue, StatusCode, header};
use serde_json::{Value, json};

use crate::answer::{self, VERSION_HEADER};
use crate::caller::Caller;

/// When a caller may try again, in seconds: an election takes about one.
const RETRY_AFTER: HeaderValue = HeaderValue::from_static("1");

/// What a caller shows to be known.
const BEARER: HeaderValue = HeaderValue::from_static("Bearer realm=\"higuma\"");

/// An error as its caller sees it.
#[derive(Debug)]
pub struct ApiError {
    status: StatusCode,
    title: String,
    detail: String,
    violations: Vec<Violation>,
    /// The version from which on the history is kept.
    compacted: Option<u64>,
    /// The version of what was read; none: the error is not about a state.
    version: Option<u64>,
}

/// What was being done, as Kuma titles its errors.
#[derive(Debug, Clone, Copy)]
pub enum Doing {
    Put,
    Delete,
    Get,
    List,
    History,
    Transact,
    Tokens,
    Order,
    Backup,
}

impl Doing {
    pub(crate) fn title(self) -> &'static str {
        match self {
            Self::Put => "Could not process a resource",
            Self::Delete => "Could not delete a resource",
            Self::Get => "Could not retrieve a resource",
            Self::List => "Could not retrieve resources",
            Self::History => "Could not read the history",
            Self::Transact => "Could not apply a transaction",
            Self::Tokens => "Could not serve user tokens",
            Self::Order => "Could not change the cluster",
            Self::Backup => "Could not back up the state",
        }
    }
}

impl ApiError {
    /// An error with a title for programs and a detail for people.
    pub fn new(status: StatusCode, title: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            status,
            title: title.into(),
            detail: detail.into(),
            violations: Vec::new(),
            compacted: None,
            version: None,
        }
    }

    /// Says of which version it is true: the state may have moved on when it is answered.
    pub(crate) fn at(mut self, version: u64) -> Self {
        self.version = Some(version);
        self
    }

    /// A request that can't be read.
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "Bad Request", detail)
    }

    /// It must be known who asks; `why` says what is missing.
    pub(crate) fn unauthenticated(why: impl Into<String>) -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthenticated", why)
    }

    /// It is known who asks, and they may not; `why` says what, after their name.
    pub(crate) fn forbidden(caller: &Caller, why: impl fmt::Display) -> Self {
        let groups = caller.groups.join(", ");
        let detail = format!("user {:?} of {groups} {why}", caller.name);
        Self::new(StatusCode::FORBIDDEN, "Access Denied", detail)
    }

    pub(crate) fn no_route(path: &str) -> Self {
        let detail =
            format!("nothing is served at {path:?}; resources are at /meshes/MESH/TYPE/NAME");
        Self::new(StatusCode::NOT_FOUND, "Not Found", detail)
    }

    pub(crate) fn not_allowed(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "Method not allowed", detail)
    }

    /// A resource, or a query, with everything that is wrong in it.
    pub fn invalid(doing: Doing, violations: Vec<Violation>) -> Self {
        let mut error = Self::new(StatusCode::BAD_REQUEST, doing.title(), "Resource is not valid");
        error.violations = violations;
        error
    }

    /// What admission refused.
    pub fn rejected(doing: Doing, rejection: Rejection) -> Self {
        let title = doing.title();
        match rejection {
            Rejection::Invalid(violations) => Self::invalid(doing, violations),
            Rejection::NotHere { detail } => Self::not_allowed(detail),
            Rejection::MeshNotFound(mesh) => Self::new(
                StatusCode::NOT_FOUND,
                "Failed to retrieve Mesh",
                format!("mesh {mesh:?} is not found; apply it first"),
            ),
            Rejection::NotFound(_) => Self::new(StatusCode::NOT_FOUND, title, "Not found"),
            Rejection::Foreign { .. } => Self::not_allowed(rejection.to_string()),
            Rejection::Precondition { key, have } => Self::precondition(&key.to_string(), have),
        }
    }

    /// The transaction was refused where it was applied.
    pub(crate) fn refused(doing: Doing, refusal: &Refusal) -> Self {
        match refusal {
            Refusal::Demand { key, have } => Self::precondition(&key.to_string(), *have),
            Refusal::Foreign { .. } => Self::not_allowed(refusal.to_string()),
            Refusal::KeyReused => {
                Self::new(StatusCode::UNPROCESSABLE_ENTITY, doing.title(), refusal.to_string())
            }
            Refusal::Full { .. } => {
                Self::new(StatusCode::INSUFFICIENT_STORAGE, doing.title(), refusal.to_string())
            }
            Refusal::Stale { .. } | Refusal::Expired | Refusal::OtherStore { .. } => {
                Self::new(StatusCode::CONFLICT, doing.title(), refusal.to_string())
            }
        }
    }

    /// The same of one part of what was sent: `place` is its path there, `what` says what it is.
    pub(crate) fn within(mut self, doing: Doing, place: &str, what: &str) -> Self {
        if self.violations.is_empty() {
            self.violations.push(Violation { field: String::new(), reason: self.detail.clone() });
        }
        for violation in &mut self.violations {
            violation.field = match &*violation.field {
                "" => place.to_owned(),
                field if field.starts_with('[') => format!("{place}{field}"),
                field => format!("{place}.{field}"),
            };
        }
        doing.title().clone_into(&mut self.title);
        self.detail = format!("{what}: {}. Nothing was applied", self.detail);
        self
    }

    #[cfg(test)]
    pub(crate) fn is_full(&self) -> bool {
        self.status == StatusCode::INSUFFICIENT_STORAGE
    }

    #[cfg(test)]
    pub(crate) fn is_about(&self, place: &str) -> bool {
        self.violations.iter().all(|violation| violation.field.starts_with(place))
    }

    fn precondition(key: &str, have: Option<u64>) -> Self {
        let detail = match have {
            Some(version) => format!("{key} is at version {version}; read it again and decide"),
            None => format!("{key} does not exist"),
        };
        Self::new(StatusCode::PRECONDITION_FAILED, "Precondition failed", detail)
    }
}

impl From<(Doing, WriteError)> for ApiError {
    fn from((doing, error): (Doing, WriteError)) -> Self {
        let detail = error.to_string();
        match error {
            WriteError::Refused(refusal) => Self::refused(doing, &refusal),
            WriteError::TooLarge(_) => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, doing.title(), detail)
            }
            WriteError::NoLeader(_) | WriteError::Busy(_) => {
                Self::new(StatusCode::SERVICE_UNAVAILABLE, doing.title(), detail)
            }
            WriteError::Unknown(_) => {
                Self::new(StatusCode::GATEWAY_TIMEOUT, "Fate unknown", detail)
            }
        }
    }
}

impl From<(Doing, ReadError)> for ApiError {
    fn from((doing, error): (Doing, ReadError)) -> Self {
        let hint = "add ?consistency=stale to see what this node has";
        let detail = match &error {
            ReadError::Unavailable(_) => format!("{error}: {hint}"),
            ReadError::Behind { .. } => error.to_string(),
        };
        Self::new(StatusCode::SERVICE_UNAVAILABLE, doing.title(), detail)
    }
}

impl From<HistoryError> for ApiError {
    fn from(error: HistoryError) -> Self {
        let (status, title) = match error {
            HistoryError::Compacted { .. } => (StatusCode::GONE, "Compacted"),
            HistoryError::NotYet { .. } => (StatusCode::NOT_FOUND, Doing::History.title()),
            HistoryError::NotKept(_) | HistoryError::TooMuch(_) => {
                (StatusCode::BAD_REQUEST, Doing::History.title())
            }
            HistoryError::Filling { .. } | HistoryError::Unusable(_) => {
                (StatusCode::SERVICE_UNAVAILABLE, Doing::History.title())
            }
        };
        let mut answer = Self::new(status, title, error.to_string());
        if let HistoryError::Compacted { compacted } = error {
            answer.compacted = Some(compacted);
        }
        answer
    }
}

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let mut body = json!({
            "type": "/std-errors",
            "status": self.status.as_u16(),
            "title": self.title,
            "detail": self.detail,
            "details": self.detail,
        });
        if !self.violations.is_empty() {
            let each = |name: &str| -> Value {
                let one = |v: &Violation| json!({"field": v.field, name: v.reason});
                self.violations.iter().map(one).collect()
            };
            body["invalid_parameters"] = each("reason");
            body["causes"] = each("message");
        }
        if let Some(compacted) = self.compacted {
            body["compacted"] = compacted.into();
        }
        let mut response = answer::json(self.status, &body);
        if self.status == StatusCode::SERVICE_UNAVAILABLE {
            response.headers_mut().insert(header::RETRY_AFTER, RETRY_AFTER);
        }
        if self.status == StatusCode::UNAUTHORIZED {
            response.headers_mut().insert(header::WWW_AUTHENTICATE, BEARER);
        }
        if let Some(version) = self.version {
            response.headers_mut().insert(VERSION_HEADER, HeaderValue::from(version));
        }
        response
    }
}
