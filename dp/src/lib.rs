//! Runs one Envoy beside a workload: asks the zone's control plane for its bootstrap, starts it,
//! watches it, and takes it out of the mesh in order.
//!
//! The proxy's document travels with the bootstrap request into Envoy's node metadata and so
//! lives exactly as long as Envoy's stream; nothing here registers or refreshes it. Envoy is not
//! restarted in place: when it ends, this process ends, and the process manager decides.
//!
//! ```text
//! file ──ProxyDocument──► POST /bootstrap ──► Envoy (child) ──ADS──► control plane
//! SIGTERM ──► POST /leave ──► healthcheck/fail, drain_listeners ──► SIGTERM to Envoy
//! ```

mod admin;
mod args;
pub mod bootstrap;
mod call;
mod control_plane;
mod document;
pub mod envoy;
mod lifecycle;
mod outbounds;
mod settings;

pub use admin::Admin;
pub use args::{ProxyArgs, RunArgs};
pub use control_plane::ControlPlane;
pub use document::{DocumentError, ProxyDocument};
pub use envoy::{Envoy, ExecEnvoyArgs, Launcher, exec_envoy};
pub use lifecycle::run_proxy;
pub use outbounds::{BindError, BoundOutbounds};

use higuma_model::Kind;

/// Runs the Envoy of one Dataplane until SIGTERM or SIGINT: `higuma dp run`.
///
/// # Errors
/// A flag or the file is wrong, the control plane refuses the proxy, or Envoy ended by itself.
/// The message is for the user.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let document = ProxyDocument::read(&args.dataplane_file, Kind::Dataplane)?;
    let outbounds = args.bind_outbounds.then(BoundOutbounds::bind).transpose()?;
    run_proxy(document, args.proxy, Launcher::this_binary(), outbounds).await
}
