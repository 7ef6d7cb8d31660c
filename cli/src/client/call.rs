//! One request and what comes of it.

use std::error::Error as _;
use std::fmt;

use higuma_model::{Key, Kind, Scope};
use reqwest::{Method, StatusCode, Url};
use serde_json::Value;

use crate::failure::{Exit, Failure};

/// A request to any server of the cluster.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) method: Method,
    /// Segments of the path, not encoded.
    path: Vec<String>,
    query: Vec<(&'static str, String)>,
    pub(crate) headers: Vec<(&'static str, String)>,
    pub(crate) body: Option<Value>,
    /// `Idempotency-Key`: what every attempt at this request carries, so that it is done once.
    pub(crate) key: Option<String>,
}

/// A request that was done.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Answer {
    pub(crate) created: bool,
    /// The version of the state that was read, or of the write.
    pub(crate) version: Option<u64>,
    /// `ETag`: the version of the resource's last change.
    pub(crate) modified_at: Option<u64>,
    pub(crate) body: Value,
    /// An earlier attempt may have done it already.
    pub(crate) repeated: bool,
}

/// A request that a server understood and refused. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Refused {
    pub(crate) status: StatusCode,
    pub(crate) title: String,
    pub(crate) detail: String,
    /// Field and reason.
    pub(crate) fields: Vec<(String, String)>,
    pub(crate) server: String,
    pub(crate) repeated: bool,
}

/// A server that could not do it, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Attempt {
    pub(crate) server: String,
    pub(crate) why: String,
}

/// Why a request was not done.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CallError {
    #[error("{0}")]
    Refused(Refused),
    #[error(
        "{request}: no server could do it, and nothing was changed:{}\n\
         Check that the control plane runs and that --server, HIGUMA_SERVER or the context names \
         it (`higuma config view`).",
        list(attempts)
    )]
    Unavailable { request: String, attempts: Vec<Attempt> },
    #[error(
        "{request}: it is not known whether this was done:{}\n\
         Look with `higuma get`, or give the same command again: doing it twice does no harm.",
        list(attempts)
    )]
    FateUnknown { request: String, attempts: Vec<Attempt> },
}

fn list(attempts: &[Attempt]) -> String {
    attempts.iter().map(|a| format!("\n  {}: {}", a.server, a.why)).collect()
}

impl From<CallError> for Failure {
    fn from(error: CallError) -> Self {
        let exit = match error {
            CallError::Refused(_) => Exit::Refused,
            CallError::Unavailable { .. } => Exit::Unavailable,
            CallError::FateUnknown { .. } => Exit::FateUnknown,
        };
        Self::new(exit, error.to_string())
    }
}

impl Request {
    pub(crate) fn get(path: &[&str]) -> Self {
        let path = path.iter().map(|part| (*part).to_owned()).collect();
        let (query, headers) = (Vec::new(), Vec::new());
        Self { method: Method::GET, path, query, headers, body: None, key: None }
    }

    pub(crate) fn to(method: Method, path: &[&str]) -> Self {
        Self { method, ..Self::get(path) }
    }

    pub(crate) fn post(path: &[&str], body: Value) -> Self {
        Self { method: Method::POST, body: Some(body), ..Self::get(path) }
    }

    /// One resource.
    pub(crate) fn one(method: Method, key: &Key) -> Self {
        let path: &[&str] = match key.kind().scope() {
            Scope::Global => &[key.kind().path(), key.name()],
            Scope::Mesh => &["meshes", key.mesh(), key.kind().path(), key.name()],
        };
        Self { method, ..Self::get(path) }
    }

    /// The resources of a kind, in one mesh or in all.
    pub(crate) fn all(kind: Kind, mesh: Option<&str>) -> Self {
        match mesh.filter(|_| kind.scope() == Scope::Mesh) {
            Some(mesh) => Self::get(&["meshes", mesh, kind.path()]),
            None => Self::get(&[kind.path()]),
        }
    }

    pub(crate) fn below(mut self, part: &str) -> Self {
        self.path.push(part.to_owned());
        self
    }

    pub(crate) fn query(mut self, key: &'static str, value: impl Into<String>) -> Self {
        self.query.push((key, value.into()));
        self
    }

    pub(crate) fn header(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.headers.push((name, value.into()));
        self
    }

    /// Why it is done, for the history.
    pub(crate) fn reason(self, reason: Option<String>) -> Self {
        match reason {
            Some(reason) => self.header("higuma-reason", reason),
            None => self,
        }
    }

    pub(crate) fn body(mut self, body: Value) -> Self {
        self.body = Some(body);
        self
    }

    /// Names the request, so that it is applied once, however often it is sent.
    pub(crate) fn once(mut self) -> Result<Self, Failure> {
        let mut random = [0; 16];
        getrandom::fill(&mut random).map_err(|error| {
            Failure::refused(format!("the system gives no random key: {error}"))
        })?;
        self.key = Some(hex::encode(random));
        Ok(self)
    }

    pub(crate) fn url(&self, server: &Url) -> Url {
        let mut url = server.clone();
        if let Ok(mut path) = url.path_segments_mut() {
            path.clear().extend(&self.path);
        }
        if !self.query.is_empty() {
            url.query_pairs_mut().extend_pairs(&self.query);
        }
        url
    }

    /// For messages.
    pub(crate) fn shown(&self) -> String {
        format!("{} /{}", self.method, self.path.join("/"))
    }
}

impl Refused {
    /// Kuma's error JSON; of anything else the beginning is shown.
    pub(crate) fn read(
        status: StatusCode,
        body: Option<&Value>,
        text: &str,
        server: String,
    ) -> Self {
        let field = |value: &Value, name: &str| Some(value.get(name)?.as_str()?.to_owned());
        let get = |name: &str| body.and_then(|body| field(body, name));
        let title = get("title").unwrap_or_else(|| format!("the server answered {status}"));
        let detail = get("detail").or_else(|| get("details")).unwrap_or_else(|| {
            // Enough to recognise who answered.
            text.chars().take(200).collect::<String>().trim().to_owned()
        });
        let fields = body.and_then(|body| body.get("invalid_parameters")?.as_array());
        let fields = fields.map_or_else(Vec::new, |fields| {
            let one = |value: &Value| {
                let reason = field(value, "reason").unwrap_or_default();
                (field(value, "field").unwrap_or_default(), reason)
            };
            fields.iter().map(one).collect()
        });
        Self { status, title, detail, fields, server, repeated: false }
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.title)?;
        if !self.detail.is_empty() && self.detail != self.title {
            write!(f, ": {}", self.detail)?;
        }
        for (field, reason) in &self.fields {
            match field.as_str() {
                "" => write!(f, "\n  {reason}")?,
                field => write!(f, "\n  {field}: {reason}")?,
            }
        }
        Ok(())
    }
}

/// The innermost cause of a failed call: "connection refused", not "error sending request".
pub(crate) fn reason(error: &reqwest::Error) -> String {
    let mut cause = error.source();
    let mut last = error.to_string();
    while let Some(inner) = cause {
        last = inner.to_string();
        cause = inner.source();
    }
    if error.is_timeout() && error.is_connect() {
        return "no connection in time".to_owned();
    }
    // The operating system's number says less than its words.
    last.split(" (os error").next().unwrap_or(&last).to_lowercase()
}
