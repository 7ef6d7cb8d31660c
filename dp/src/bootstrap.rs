//! `POST /bootstrap`: what Envoy needs to start, from the zone's control plane. Asked for until
//! it is had, refused, or no longer wanted.

mod answer;
mod retry;

use std::net::SocketAddr;

use higuma_model::Kind;
use serde::Serialize;
use serde_json::Value;
use tokio::time::Instant;

use crate::envoy::Version;
use crate::{ControlPlane, ProxyDocument};
use answer::Outcome;
pub use answer::Refusal;
use retry::{Pace, Reasons};

/// The body of `POST /bootstrap`.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Request {
    /// Empty for a ZoneIngress.
    pub mesh: String,
    pub name: String,
    /// Drawn by this process: tells it from another that uses the same name.
    pub instance: String,
    /// The document, for a Dataplane.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataplane: Option<Value>,
    /// The document, for a ZoneIngress.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub zone_ingress: Option<Value>,
    pub admin_address: String,
    pub admin_port: u16,
    /// The replicas as this proxy reaches them, `HOST:PORT`.
    pub control_planes: Vec<String>,
    /// Envoy is to listen on the addresses of `.mesh` names; see `outbounds`.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub bind_outbounds: bool,
    pub version: Versions,
}

/// Who asks.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Versions {
    pub higuma_dp: DpVersion,
    pub envoy: Version,
}

/// Version of this program.
#[derive(Clone, Debug, Serialize)]
pub struct DpVersion {
    pub version: &'static str,
}

impl Request {
    /// The request for `document`, whose kind decides which proxy is asked for.
    pub fn new(
        document: &ProxyDocument,
        instance: String,
        admin: SocketAddr,
        control_plane: &ControlPlane,
        envoy: Version,
    ) -> Self {
        let value = |kind| (document.kind == kind).then(|| document.value.clone());
        Self {
            mesh: document.mesh.clone(),
            name: document.name.clone(),
            instance,
            dataplane: value(Kind::Dataplane),
            zone_ingress: value(Kind::ZoneIngress),
            admin_address: admin.ip().to_string(),
            admin_port: admin.port(),
            control_planes: control_plane.addresses().to_vec(),
            bind_outbounds: false,
            version: Versions {
                higuma_dp: DpVersion { version: env!("CARGO_PKG_VERSION") },
                envoy,
            },
        }
    }
}

/// What was answered, and by whom.
#[derive(Clone, Debug, PartialEq)]
pub struct Bootstrap {
    /// Envoy's bootstrap, a JSON object.
    pub config: Value,
    /// The replica that answered.
    pub from: String,
}

/// How the waiting goes, for readiness and metrics.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Progress {
    /// A call is about to be made.
    Asking,
    /// There is no bootstrap yet, because of this.
    Waiting(String),
}

/// Asks every replica in turn until one gives the bootstrap. An unreachable control plane and a
/// mesh that is not known yet are waited for, without end: dropping the future ends it.
///
/// # Errors
/// The control plane refuses this proxy, and asking again would not change that.
pub async fn fetch(
    control_plane: &ControlPlane,
    request: &Request,
    mut progress: impl FnMut(Progress),
) -> Result<Bootstrap, Refusal> {
    let mut reasons = Reasons::default();
    let mut pace = Pace::default();
    loop {
        let mut failures = Vec::new();
        let mut waiting = None;
        for address in control_plane.addresses() {
            progress(Progress::Asking);
            let answer = control_plane.post(address, "/bootstrap", request).await;
            match answer::read(answer) {
                Outcome::Given(config) => return Ok(Bootstrap { config, from: address.clone() }),
                Outcome::Refused(refusal) => return Err(refusal),
                Outcome::NotYet(why) => {
                    waiting = Some(why);
                    break;
                }
                Outcome::Unavailable(why) => failures.push(format!("{address}: {why}")),
            }
        }
        let pause = match &waiting {
            Some(_) => pace.waiting(),
            None => pace.failed(),
        };
        let repeats = waiting.is_some();
        let why = waiting.unwrap_or_else(|| failures.join("; "));
        if reasons.worth_a_line(&why, repeats, Instant::now()) {
            tracing::warn!(
                mesh = request.mesh,
                name = request.name,
                "no bootstrap yet, asking again: {why}"
            );
        }
        progress(Progress::Waiting(why));
        tokio::time::sleep(pause).await;
    }
}

#[cfg(test)]
mod tests;
