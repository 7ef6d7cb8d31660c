//! `POST /leave`: the proxy's name is taken out of the mesh before its Envoy stops.

use std::time::Duration;

use serde::Serialize;
use tokio::time::timeout;

use crate::ControlPlane;

/// The control plane answers once the peers have acknowledged that the proxy is gone; one that
/// cannot must not keep a workload from stopping.
pub(super) const LEAVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The body of `POST /leave`.
#[derive(Debug, Serialize)]
pub(super) struct Leave<'a> {
    /// Empty for a ZoneIngress.
    pub(super) mesh: &'a str,
    pub(super) name: &'a str,
    /// As in the bootstrap request: a later proxy of this name is not meant.
    pub(super) instance: &'a str,
}

impl Leave<'_> {
    /// Tells the replica that gave the bootstrap, or else another. Nobody reached is only logged:
    /// the end of Envoy's stream says the same, later.
    pub(super) async fn tell(&self, control_plane: &ControlPlane, first: &str) {
        if timeout(LEAVE_TIMEOUT, self.tell_one(control_plane, first)).await.is_err() {
            tracing::warn!(
                "the control plane did not confirm within {LEAVE_TIMEOUT:?} that the proxy left; going on"
            );
        }
    }

    async fn tell_one(&self, control_plane: &ControlPlane, first: &str) {
        let others = control_plane.addresses().iter().map(String::as_str);
        for address in [first].into_iter().chain(others.filter(|address| *address != first)) {
            match control_plane.post(address, "/leave", self).await {
                Ok(answer) if answer.status.is_success() => {
                    tracing::info!(control_plane = address, "left the mesh");
                    return;
                }
                Ok(answer) => {
                    let status = answer.status.as_u16();
                    tracing::warn!(control_plane = address, status, "leaving was not confirmed");
                }
                Err(error) => {
                    tracing::warn!(control_plane = address, error, "leaving was not confirmed");
                }
            }
        }
    }
}
