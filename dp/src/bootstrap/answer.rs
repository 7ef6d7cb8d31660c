//! What an answer to `POST /bootstrap` means. Pure.

use http::StatusCode;
use serde::Deserialize;
use serde_json::Value;

use crate::control_plane::Answer;

/// The title (Kuma's error JSON) of a 404 that is waited for: the zone has not heard of the mesh
/// yet. Any other 404 is an answer by something that is not a zone's control plane.
const MESH_NOT_FOUND: &str = "Mesh not found";
/// Characters of a stranger's answer that a message repeats.
const MAX_REPEATED: usize = 200;
/// Findings that a message lists.
const MAX_FINDINGS: usize = 20;

/// The control plane does not want this proxy; asking again would not change that.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the control plane refuses this proxy ({status}): {what}{hint}")]
pub struct Refusal {
    pub status: StatusCode,
    /// Title, detail and findings, as the control plane words them.
    pub what: String,
    hint: &'static str,
}

#[derive(Debug, PartialEq)]
pub(super) enum Outcome {
    Given(Value),
    /// The mesh is not known yet.
    NotYet(String),
    Refused(Refusal),
    /// Nothing that says yes or no: another replica or another time may.
    Unavailable(String),
}

pub(super) fn read(answer: Result<Answer, String>) -> Outcome {
    let answer = match answer {
        Ok(answer) => answer,
        Err(why) => return Outcome::Unavailable(why),
    };
    let status = answer.status;
    if status == StatusCode::OK {
        return given(&answer);
    }
    let problem: Problem = serde_json::from_slice(&answer.body).unwrap_or_default();
    let what = problem.text().unwrap_or_else(|| repeated(&answer.body));
    let busy = [StatusCode::TOO_MANY_REQUESTS, StatusCode::REQUEST_TIMEOUT].contains(&status);
    if !status.is_client_error() || busy {
        return Outcome::Unavailable(format!("{status}: {what}"));
    }
    if status == StatusCode::NOT_FOUND && problem.title == MESH_NOT_FOUND {
        return Outcome::NotYet(what);
    }
    let hint = match status {
        StatusCode::NOT_FOUND => "; is --cp the address of a zone's control plane (port 5678)?",
        StatusCode::CONFLICT => {
            "; stop the proxy that runs under this name, or give this one another"
        }
        _ => "",
    };
    Outcome::Refused(Refusal { status, what, hint })
}

fn given(answer: &Answer) -> Outcome {
    if answer.media_type != "application/json" {
        let kind = &answer.media_type;
        return Outcome::Unavailable(format!("its answer is `{kind}`, not application/json"));
    }
    match serde_json::from_slice(&answer.body) {
        Ok(config @ Value::Object(_)) => Outcome::Given(config),
        Ok(_) => Outcome::Unavailable("its answer is JSON, but no object".to_owned()),
        Err(error) => Outcome::Unavailable(format!("its answer is not JSON: {error}")),
    }
}

/// Kuma's error JSON.
#[derive(Default, Deserialize)]
#[serde(default)]
struct Problem {
    title: String,
    detail: String,
    invalid_parameters: Vec<Finding>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Finding {
    field: String,
    reason: String,
}

impl Problem {
    fn text(&self) -> Option<String> {
        if self.title.is_empty() {
            return None;
        }
        let mut text = self.title.clone();
        if !self.detail.is_empty() && self.detail != self.title {
            text = format!("{text}: {}", self.detail);
        }
        for finding in self.invalid_parameters.iter().take(MAX_FINDINGS) {
            text = format!("{text}\n  {}: {}", finding.field, finding.reason);
        }
        Some(text)
    }
}

fn repeated(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(body);
    let shown: String = text
        .trim()
        .chars()
        .take(MAX_REPEATED)
        .map(|c| if c.is_control() { ' ' } else { c })
        .collect();
    if shown.is_empty() { "no reason given".to_owned() } else { shown }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_says_neither_yes_nor_no_is_asked_again() {
        struct Case {
            status: u16,
            media_type: &'static str,
            body: &'static str,
            says: &'static str,
        }
        let case = |status, media_type, body, says| Case { status, media_type, body, says };
        for case in [
            case(200, "text/x-yaml", "a: b", "its answer is `text/x-yaml`, not application/json"),
            case(200, "application/json", "[1]", "its answer is JSON, but no object"),
            case(200, "application/json", "{", "its answer is not JSON: EOF"),
            case(204, "", "", "204 No Content: no reason given"),
            case(302, "", "elsewhere", "302 Found: elsewhere"),
            case(408, "", "", "408 Request Timeout"),
            case(429, "", r#"{"title":"Busy"}"#, "429 Too Many Requests: Busy"),
            case(503, "", "no leader", "503 Service Unavailable: no leader"),
        ] {
            let status = StatusCode::from_u16(case.status).expect("status");
            let (media_type, body) = (case.media_type.to_owned(), case.body.into());
            match read(Ok(Answer { status, media_type, body })) {
                Outcome::Unavailable(why) => assert!(why.starts_with(case.says), "{why}"),
                other => panic!("{}: {other:?}", case.says),
            }
        }
        let why = "connection refused".to_owned();
        assert_eq!(read(Err(why.clone())), Outcome::Unavailable(why));
    }
}
