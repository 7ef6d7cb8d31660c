//! One zone's control plane, from its flags to its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use higuma_dns::Sockets;
use higuma_kds::inbox::ZoneReport;
use higuma_kds::{Client, ClientState, client};
use higuma_model::Place;
use higuma_rest::{Api, Authority, BuiltinAuthority, CaPair, router};
use higuma_serve::{
    ClientAuth, HttpServer, Metrics, Readiness, Tasks, Transport, diagnostics, listen, mutant,
};
use higuma_store::{Mutant, Options, Store, Timers};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ads::Ads;
use crate::flags::RunArgs;
use crate::inbox::ZoneInbox;
use crate::live::Live;
use crate::progress::{self, Books, OwnProgress};
use crate::view::{self, View};
use crate::zone::{Zone, random};
use crate::{bootstrap, names, registrar, standing};

/// How long tasks may take to stop; streams are cut after three seconds.
const DRAIN: Duration = Duration::from_secs(8);

/// A store of one member leads itself; as soon as it can.
const TIMERS: Timers = Timers {
    heartbeat: Duration::from_millis(50),
    election_min: Duration::from_millis(100),
    election_max: Duration::from_millis(200),
};

const DIAGNOSTICS_FLAGS: &str = "--diagnostics-port or --diagnostics-bind";

/// Runs until a signal or a failure.
///
/// # Errors
/// Whatever keeps the zone's control plane from running, with what to do about it.
pub async fn run(args: RunArgs) -> anyhow::Result<()> {
    args.check_zone()?;
    let mutant = mutant::from_environment(Mutant::NAMES)?;
    let transport = args.tls.transport(&[args.proxy_address()])?.context(
        "proxies and the global are reached with TLS only: give --tls-ca, --tls-cert and --tls-key",
    )?;
    let mut tasks = Tasks::new();
    let (ready, readiness) = watch::channel(Readiness::default());
    ready.send_modify(|ready| ready.wait("store", "the zone's state is not read yet"));
    let metrics = Metrics::new();
    let port = listen::bind(args.diagnostics_address(), "diagnostics", DIAGNOSTICS_FLAGS).await?;
    tasks.spawn("diagnostics", diagnostics::run(port, readiness, metrics.clone(), tasks.token()));
    let rest = listen::bind(args.rest_address(), "REST", "--rest-port").await?;
    let proxies = listen::bind(args.proxy_address(), "ADS", "--proxy-port or --bind").await?;
    let dns = dns_sockets(args.dns_address()).await?;
    let store = open(&args, mutant).await?;
    standing::check(&args.place(), &store.snapshot(), &args.data_dir)?;
    metrics.register(|registry| registry.register_collector(store.collector()));

    let zone = assemble(&args, &store, &transport, &mut tasks);
    tasks.spawn("registrar", registrar::run(zone.clone()));
    names::serve(&zone, dns, &metrics, &mut tasks)?;
    let ads = AggregatedDiscoveryServiceServer::new(Ads(zone.clone()));
    let routes = tonic::service::Routes::new(ads).prepare().into_axum_router().reset_fallback();
    let routes = routes.merge(bootstrap::router(zone.clone()));
    let server = HttpServer::new(proxies, routes).tls(transport.rustls_server(ClientAuth::None));
    tasks.spawn("ADS", server.run(tasks.token()));
    let api = Api {
        store: store.clone(),
        place: zone.place.clone(),
        authority: authority(&zone.place),
        progress: Arc::new(OwnProgress {
            place: zone.place.clone(),
            books: zone.books.clone(),
            snapshots: store.watch(),
        }),
        version: env!("CARGO_PKG_VERSION"),
    };
    tasks.spawn("REST", HttpServer::new(rest, router(Arc::new(api))).run(tasks.token()));
    ready.send_modify(|ready| ready.done("store"));
    tracing::info!(zone = args.zone, version = store.snapshot().version(), "serving proxies");

    match zone.place {
        Place::Standalone(_) => tracing::info!("no global: meshes and policies are written here"),
        _ => follow_global(&args, &zone, &transport, &mut tasks)?,
    }
    tasks.spawn("store", keep(store, tasks.token()));
    tasks.run_until_signal(DRAIN).await
}

async fn dns_sockets(address: SocketAddr) -> Result<Sockets, listen::ListenError> {
    let setting = "--dns-port or --bind";
    let udp = listen::bind_udp(address, "DNS", setting).await?;
    Ok(Sockets { udp, tcp: listen::bind(address, "DNS over TCP", setting).await? })
}

/// Opens the zone's own store and waits until it has read what it had.
async fn open(args: &RunArgs, mutant: Option<Mutant>) -> anyhow::Result<Store> {
    let store = Store::open(Options {
        folder: args.data_dir.clone(),
        node: 1,
        members: BTreeMap::from([(1, args.proxy_address().to_string())]),
        listener: None,
        tls: None,
        timers: TIMERS,
        mutant,
    })
    .await?;
    let read = store.read(higuma_store::Consistency::Linearizable).await;
    read.context("the zone's own store does not answer")?;
    Ok(store)
}

fn assemble(args: &RunArgs, store: &Store, transport: &Transport, tasks: &mut Tasks) -> Arc<Zone> {
    let first = View::new(&args.zone, store.snapshot());
    let (views_in, views) = watch::channel(Arc::new(first));
    tasks.spawn("view", view::follow(store.watch(), views_in, tasks.token()));
    Arc::new(Zone {
        name: args.zone.as_str().into(),
        place: args.place(),
        store: store.clone(),
        views,
        live: Live::new(),
        books: Books::new(),
        ca_pem: transport.ca_pem().to_owned(),
        instance: format!("{}-{:016x}", args.zone, random()),
        stop: tasks.token(),
    })
}

fn follow_global(
    args: &RunArgs,
    zone: &Arc<Zone>,
    transport: &Transport,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let (reports_in, reports) = watch::channel(ZoneReport::default());
    let (place, books) = (zone.place.clone(), zone.books.clone());
    let report = progress::follow(place, books, zone.store.watch(), reports_in, tasks.token());
    tasks.spawn("report", report);
    let (states, following) = client(Client {
        zone: zone.name.clone(),
        globals: args.global.iter().map(|address| format!("grpcs://{address}")).collect(),
        tls: Some(transport.tonic_client(None)),
        pinned: None,
        snapshots: zone.store.watch(),
        inbox: Arc::new(ZoneInbox(zone.clone())),
        reports,
        stop: tasks.token(),
    })?;
    tasks.spawn("KDS", async move {
        following.await;
        Ok(())
    });
    tasks.spawn("global", say(states, tasks.token()));
    Ok(())
}

/// Says in the log how the zone stands to its global.
async fn say(
    mut states: watch::Receiver<ClientState>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        match &*states.borrow_and_update() {
            ClientState::Connecting { last_error: None } => {}
            ClientState::Connecting { last_error: Some(why) } => {
                tracing::warn!(why, "no global; going on with what the zone has");
            }
            ClientState::Syncing => tracing::info!("connected to the global"),
            ClientState::Synced { version } => tracing::debug!(version, "has what the global has"),
            ClientState::Fenced { reason } => {
                tracing::error!(reason, "the zone does not follow this global");
            }
        }
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = states.changed() => if changed.is_err() {
                stop.cancelled().await;
                return Ok(());
            }
        }
    }
}

/// Ends with the store's failure, or stops it in order.
async fn keep(store: Store, stop: CancellationToken) -> anyhow::Result<()> {
    tokio::select! {
        reason = store.failed() => anyhow::bail!("the store can't go on: {reason}"),
        () = stop.cancelled() => {
            store.shutdown().await;
            Ok(())
        }
    }
}

fn authority(place: &Place) -> Arc<dyn Authority> {
    match place {
        Place::Standalone(_) => Arc::new(BuiltinAuthority),
        _ => Arc::new(NoAuthority),
    }
}

/// A zone that follows a global makes no CA: meshes are written there.
struct NoAuthority;

impl Authority for NoAuthority {
    fn builtin_ca(&self, mesh: &str, _: &str) -> Result<CaPair, String> {
        Err(format!("the CA of mesh {mesh} is made at the global control plane"))
    }
}
