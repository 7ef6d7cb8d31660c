//! One node of the global control plane, from its flags to its end.

use std::sync::Arc;
use std::time::Duration;

use higuma_model::{ClusterName, Place};
use higuma_rest::{Api, BuiltinAuthority, roles, router};
use higuma_serve::axum::Router;
use higuma_serve::{
    ClientAuth, Metrics, Readiness, RestListeners, Tasks, Transport, diagnostics, incoming, listen,
    mutant, transport,
};
use higuma_store::{Options, Store, Tls};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::contents;
use crate::flags::RunArgs;
use crate::kds;
use crate::mutant::Mutant;
use crate::zones::{self, Endpoint, ZonesCollector};

/// How long tasks may take to stop: leadership is handed over within 1.5 s, requests drain in 3.
const DRAIN: Duration = Duration::from_secs(8);

const TO_BE_ADDED: &str = "no cluster has added this node: `higuma cluster add`";

const DIAGNOSTICS_FLAGS: &str = "--diagnostics-port or --diagnostics-bind";

/// Runs until a signal or a failure.
///
/// # Errors
/// Whatever keeps the node from running, with what to do about it.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    let (members, timers) = (args.members()?, args.timers()?);
    let mutant = mutant::from_environment(&Mutant::names())?;
    let transport = args.transport()?;
    let https = args.rest.https(args.bind, transport.as_ref())?;
    let mut tasks = Tasks::new();
    let (ready, readiness) = watch::channel(Readiness::default());
    let waits = if members.is_empty() { TO_BE_ADDED } else { "the cluster has not formed" };
    ready.send_modify(|ready| ready.wait("cluster", waits));
    let metrics = Metrics::new();
    let port = listen::bind(args.diagnostics_address(), "diagnostics", DIAGNOSTICS_FLAGS).await?;
    tasks.spawn("diagnostics", diagnostics::run(port, readiness, metrics.clone(), tasks.token()));
    let files = transport.clone().into_iter().chain(https.as_ref().map(|h| h.transport.clone()));
    transport::follow(files, &metrics, &mut tasks);
    let roles = roles(args.rest.roles.as_deref(), &mut tasks)?;
    let rest = RestListeners::bind(args.rest_address(), https).await?;
    let raft = listen::bind(args.raft_address(), "Raft", "--raft-port, --raft-bind").await?;
    let kds = listen::bind(args.kds_address(), "KDS", "--kds-port or --bind").await?;
    tracing::info!(node = args.node_id, members = ?members, "starting");

    let tls = transport.clone().map(|transport| raft_tls(transport, args.cluster_name.clone()));
    let store = Store::open(Options {
        folder: args.data_dir.clone(),
        node: args.node_id,
        members,
        listener: Some(raft),
        tls,
        timers,
        mutant: mutant.and_then(Mutant::of_store),
    })
    .await?;
    metrics.register(|registry| registry.register_collector(store.collector()));
    tracing::info!(cluster = %store.cluster_id(), rest = %args.rest_address(), "running");

    tasks.spawn("readiness", follow_leader(store.clone(), ready, tasks.token()));
    tasks.spawn("contents", contents::compare(store.clone(), metrics.clone(), tasks.token()));
    let endpoint = serve_zones(&store, &metrics, (kds, transport), &mut tasks);
    let api = Api {
        store: store.clone(),
        place: Place::Global,
        authority: Arc::new(BuiltinAuthority),
        progress: Arc::new(endpoint.reports),
        quota: args.state_quota,
        localhost_is_admin: args.rest.localhost_is_admin,
        roles,
        version: env!("CARGO_PKG_VERSION"),
        mutant: mutant.and_then(Mutant::of_rest),
    };
    let rest = rest.run(router(Arc::new(api), Router::new()), tasks.token());
    tasks.spawn("REST and store", keep(store, rest, tasks.token()));
    tasks.run_until_signal(DRAIN).await
}

/// Mutual TLS between the nodes.
fn raft_tls(transport: Transport, cluster_name: Option<ClusterName>) -> Tls {
    let (client, server) = (transport.grpc_client(), transport.grpc_server(ClientAuth::Required));
    Tls { accept: Box::new(|raft| Box::pin(incoming(raft, server))), client, cluster_name }
}

/// Starts what serves zones.
fn serve_zones(
    store: &Store,
    metrics: &Metrics,
    (listener, tls): (TcpListener, Option<Transport>),
    tasks: &mut Tasks,
) -> Endpoint {
    let endpoint = Endpoint::new(store.clone());
    let collector = ZonesCollector(endpoint.clone());
    metrics.register(|registry| registry.register_collector(Box::new(collector)));
    let insights = zones::keep_insights(endpoint.clone(), tasks.token());
    tasks.spawn("insights of zones", insights);
    let routes = higuma_kds::server(store.watch(), Arc::new(endpoint.clone()), tasks.token());
    tasks.spawn("KDS", kds::serve(listener, routes, tls, tasks.token()));
    endpoint
}

/// Serves REST until the store fails, or stops in order: leadership goes first, then what was taken
/// is answered, and only then the store ends. So no write fails over a planned restart.
async fn keep(
    store: Store,
    rest: impl Future<Output = anyhow::Result<()>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let handed_over = async {
        stop.cancelled().await;
        store.hand_over().await;
        anyhow::Ok(())
    };
    tokio::select! {
        reason = store.failed() => anyhow::bail!("the store can't go on: {reason}"),
        served = async { tokio::try_join!(rest, handed_over) } => drop(served?),
    };
    store.shutdown().await;
    Ok(())
}

/// Ready while a leader is known: then reads and writes are answered.
async fn follow_leader(
    store: Store,
    ready: watch::Sender<Readiness>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut leader = None;
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            now = store.leader_is_not(leader) => {
                let Ok(now) = now else {
                    // The store's own task says why.
                    stop.cancelled().await;
                    return Ok(());
                };
                leader = now;
            }
        }
        ready.send_modify(|ready| match leader {
            Some(_) => ready.done("cluster"),
            None => ready.wait("cluster", "no leader is known"),
        });
        tracing::info!(leader, "leader");
    }
}
