//! The life of one proxy's process, whatever its kind: bootstrap, Envoy, readiness, clean leave.

mod leave;
mod metrics;

use std::convert::Infallible;
use std::time::Duration;

use anyhow::Context as _;
use higuma_serve::{Metrics, Readiness, Tasks, diagnostics, listen};
use tokio::sync::{oneshot, watch};
use tokio_util::sync::CancellationToken;

use crate::bootstrap::{self, Bootstrap, Progress, Request};
use crate::envoy::{Binary, STOP_TIMEOUT, Start};
use crate::settings::Settings;
use crate::{Admin, BoundOutbounds, Envoy, Launcher, ProxyArgs, ProxyDocument};
use leave::{LEAVE_TIMEOUT, Leave};
use metrics::ProxyMetrics;

/// Between two questions to Envoy until it is ready: what a rollout that waits for it may notice.
const PROBE_PAUSE: Duration = Duration::from_millis(200);
/// Afterwards: readiness is lost only when Envoy is stuck.
const CHECK_PAUSE: Duration = Duration::from_secs(5);
/// What a clean leave needs beyond its parts, each of which has its own bound.
const STOP_SLACK: Duration = Duration::from_secs(10);
/// The part that `/ready` names.
const ENVOY: &str = "envoy";

/// Runs the Envoy of `document` until SIGTERM or SIGINT, then takes it out of the mesh: the
/// control plane is told first and the listeners drain. A second signal ends at once. With
/// `outbounds`, Envoy listens on the addresses of `.mesh` names.
///
/// # Errors
/// A flag is wrong, there is no Envoy to run, the control plane refuses the proxy, or Envoy ended
/// by itself. The message is for the user.
pub async fn run_proxy(
    document: ProxyDocument,
    args: ProxyArgs,
    launcher: Launcher,
    outbounds: Option<BoundOutbounds>,
) -> anyhow::Result<()> {
    let settings = Settings::new(&args, &document)?;
    let binary = Binary::find(args.envoy.as_deref()).await?;
    let setting = "--diagnostics (or HIGUMA_DIAGNOSTICS)";
    let listener = listen::bind(args.diagnostics, "the diagnostics port", setting).await?;
    // Envoy itself would say which address is taken, but not which flag changes that.
    drop(
        listen::bind(settings.admin, "Envoy's admin interface", "--admin (or HIGUMA_ADMIN)")
            .await?,
    );
    tracing::info!(
        kind = %document.kind, mesh = document.mesh, name = document.name,
        envoy = binary.version.version, diagnostics = %args.diagnostics, "running a proxy"
    );

    let metrics = Metrics::new();
    let mut start = Readiness::default();
    start.wait(ENVOY, "it has not started");
    let (readiness, watched) = watch::channel(start);
    let mut tasks = Tasks::new();
    let limit = LEAVE_TIMEOUT + args.drain_time + STOP_TIMEOUT + STOP_SLACK;
    let proxy = Proxy {
        instance: instance()?,
        metrics: ProxyMetrics::register(&metrics),
        stop: tasks.token(),
        document,
        args,
        binary,
        launcher,
        settings,
        readiness,
        outbounds,
    };
    // Diagnostics answer until Envoy is gone, so that its leave can be watched.
    let over = CancellationToken::new();
    tasks.spawn("diagnostics", diagnostics::run(listener, watched, metrics, over.clone()));
    let (outcome, ended) = oneshot::channel();
    let stop = tasks.token();
    tasks.spawn("proxy", async move {
        let _over = over.drop_guard();
        // Whoever waits for it is gone only when the whole process is being ended.
        drop(outcome.send(proxy.live().await));
        stop.cancel();
        Ok(())
    });
    let stopped = tasks.run_until_signal(limit).await;
    // What the proxy met is the reason; how the tasks ended follows from it.
    match ended.await {
        Ok(Err(error)) => Err(error),
        Ok(Ok(())) | Err(_) => stopped,
    }
}

/// One proxy, from its bootstrap to its end.
struct Proxy {
    document: ProxyDocument,
    /// Tells this process from another that runs a proxy of the same name.
    instance: String,
    args: ProxyArgs,
    settings: Settings,
    binary: Binary,
    launcher: Launcher,
    readiness: watch::Sender<Readiness>,
    metrics: ProxyMetrics,
    stop: CancellationToken,
    /// Held until Envoy is gone.
    outbounds: Option<BoundOutbounds>,
}

impl Proxy {
    /// Until the process is told to stop; every other end is an error.
    async fn live(self) -> anyhow::Result<()> {
        let bootstrap = tokio::select! {
            bootstrap = self.bootstrap() => bootstrap?,
            // Nothing of this proxy is known to anyone yet.
            () = self.stop.cancelled() => return Ok(()),
        };
        self.wait("it is starting");
        let mut envoy = Envoy::start(&Start {
            binary: &self.binary,
            launcher: &self.launcher,
            bootstrap: &bootstrap.config,
            admin: self.settings.admin,
            concurrency: self.args.concurrency,
            drain_time: self.args.drain_time,
            log_level: &self.args.envoy_log_level,
            work_dir: self.args.work_dir.as_deref(),
        })?;
        self.metrics.up.set(1);
        tracing::info!(pid = envoy.id(), control_plane = bootstrap.from, "Envoy started");
        let watching = (envoy.admin().clone(), envoy.is_dynamic());
        tokio::select! {
            exit = envoy.exited() => {
                self.metrics.up.set(0);
                self.wait("it has ended");
                anyhow::bail!("{}", exit?);
            }
            never = self.watch_readiness(watching.0, watching.1) => match never {},
            () = self.stop.cancelled() => {}
        }
        self.leave(envoy, &bootstrap.from).await
    }

    async fn bootstrap(&self) -> Result<Bootstrap, bootstrap::Refusal> {
        let control_plane = &self.settings.control_plane;
        let mut request = Request::new(
            &self.document,
            self.instance.clone(),
            self.settings.admin,
            control_plane,
            self.binary.version.clone(),
        );
        request.bind_outbounds = self.outbounds.is_some();
        bootstrap::fetch(control_plane, &request, |progress| match progress {
            Progress::Asking => {
                self.metrics.bootstrap_requests.inc();
            }
            Progress::Waiting(why) => self.wait(format!("no bootstrap yet: {why}")),
        })
        .await
    }

    /// Keeps `/ready` true to what Envoy says of itself.
    async fn watch_readiness(&self, admin: Admin, dynamic: bool) -> Infallible {
        let mut was = Err(String::new());
        loop {
            let now = admin.ready(dynamic).await;
            if now != was {
                match &now {
                    Ok(()) => {
                        tracing::info!("Envoy is ready");
                        self.metrics.ready.set(1);
                        self.readiness.send_modify(|readiness| readiness.done(ENVOY));
                    }
                    Err(why) => self.wait(why.clone()),
                }
            }
            tokio::time::sleep(if now.is_ok() { CHECK_PAUSE } else { PROBE_PAUSE }).await;
            was = now;
        }
    }

    /// The clean leave: others stop sending, then Envoy drains, then it ends.
    async fn leave(&self, mut envoy: Envoy, control_plane: &str) -> anyhow::Result<()> {
        self.wait("it is leaving");
        let leave = Leave {
            mesh: &self.document.mesh,
            name: &self.document.name,
            instance: &self.instance,
        };
        leave.tell(&self.settings.control_plane, control_plane).await;
        envoy.drain(self.args.drain_time).await;
        let status = envoy.stop().await.context("cannot stop Envoy")?;
        self.metrics.up.set(0);
        tracing::info!(%status, "Envoy stopped");
        Ok(())
    }

    fn wait(&self, why: impl Into<String>) {
        self.metrics.ready.set(0);
        self.readiness.send_modify(|readiness| readiness.wait(ENVOY, why));
    }
}

/// 128 random bits in hexadecimal.
fn instance() -> anyhow::Result<String> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).context("the system has no random numbers")?;
    Ok(format!("{:032x}", u128::from_be_bytes(bytes)))
}
