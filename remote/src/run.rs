//! One zone's control plane, from its flags to its end.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_server::AggregatedDiscoveryServiceServer;
use higuma_dns::Sockets;
use higuma_kds::inbox::ZoneReport;
use higuma_kds::{Adoption, Client, ClientState};
use higuma_model::Place;
use higuma_rest::{Api, Authority, BuiltinAuthority, CaPair, Roles, roles, router};
use higuma_serve::axum::Router;
use higuma_serve::{
    ClientAuth, HttpServer, Metrics, Readiness, RestListeners, Tasks, Transport, diagnostics,
    listen, mutant, transport,
};
use higuma_store::{Options, Store, Timers};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::ads::Ads;
use crate::flags::RunArgs;
use crate::inbox::ZoneInbox;
use crate::live::Live;
use crate::mutant::Mutant;
use crate::progress::{self, Books, OwnProgress};
use crate::view::{self, View};
use crate::zone::{Zone, random};
use crate::{adopt, bootstrap, names, registrar, standing};

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
    let mutant = mutant::from_environment(&Mutant::names())?;
    let transport = args.tls.transport(&[args.proxy_address()])?.context(
        "proxies and the global are reached with TLS only: give --tls-ca, --tls-cert and --tls-key",
    )?;
    let mut tasks = Tasks::new();
    let (ready, readiness) = watch::channel(Readiness::default());
    ready.send_modify(|ready| ready.wait("store", "the zone's state is not read yet"));
    let metrics = Metrics::new();
    let port = listen::bind(args.diagnostics_address(), "diagnostics", DIAGNOSTICS_FLAGS).await?;
    tasks.spawn("diagnostics", diagnostics::run(port, readiness, metrics.clone(), tasks.token()));
    let https = args.rest.https(args.bind, Some(&transport))?;
    let files = [transport.clone()].into_iter().chain(https.as_ref().map(|h| h.transport.clone()));
    transport::follow(files, &metrics, &mut tasks);
    let roles = roles(args.rest.roles.as_deref(), &mut tasks)?;
    let rest = RestListeners::bind(args.rest_address(), https).await?;
    let proxies = listen::bind(args.proxy_address(), "ADS", "--proxy-port or --bind").await?;
    let dns = dns_sockets(args.dns_address()).await?;
    let store = open(&args, mutant.and_then(Mutant::of_store)).await?;
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
    let adoption = match zone.place {
        Place::Standalone(_) => None,
        _ => {
            let broken = mutant.and_then(Mutant::of_kds);
            Some(follow_global(global(&args, &zone, &transport, broken, &mut tasks), &mut tasks)?)
        }
    };
    let api = api(&zone, adoption.as_ref(), &args, roles);
    tasks.spawn("REST", rest.run(api, tasks.token()));
    ready.send_modify(|ready| ready.done("store"));
    tracing::info!(zone = args.zone, version = store.snapshot().version(), "serving proxies");
    match adoption {
        Some(adoption) => tasks.spawn("global", say(adoption.states(), ready, tasks.token())),
        None => tracing::info!("no global: meshes and policies are written here"),
    }
    tasks.spawn("store", keep(store, tasks.token()));
    tasks.run_until_signal(DRAIN).await
}

/// Starts the zone's end of KDS.
fn follow_global(client: Client, tasks: &mut Tasks) -> anyhow::Result<Arc<Adoption>> {
    let (adoption, following) = higuma_kds::client(client)?;
    tasks.spawn("KDS", async move {
        following.await;
        Ok(())
    });
    Ok(Arc::new(adoption))
}

/// The zone's REST.
fn api(
    zone: &Arc<Zone>,
    adoption: Option<&Arc<Adoption>>,
    args: &RunArgs,
    roles: watch::Receiver<Arc<Roles>>,
) -> Router {
    let api = Api {
        store: zone.store.clone(),
        place: zone.place.clone(),
        authority: authority(&zone.place),
        progress: Arc::new(OwnProgress {
            place: zone.place.clone(),
            books: zone.books.clone(),
            snapshots: zone.store.watch(),
            global: adoption.map(|adoption| adoption.states()),
        }),
        quota: args.state_quota,
        localhost_is_admin: args.rest.localhost_is_admin,
        roles,
        version: env!("CARGO_PKG_VERSION"),
        mutant: None,
    };
    let kds_routes = match adoption {
        Some(adoption) => adopt::router(zone.clone(), adoption.clone()),
        None => adopt::no_global(),
    };
    router(Arc::new(api), kds_routes)
}

async fn dns_sockets(address: SocketAddr) -> Result<Sockets, listen::ListenError> {
    let setting = "--dns-port or --bind";
    let udp = listen::bind_udp(address, "DNS", setting).await?;
    Ok(Sockets { udp, tcp: listen::bind(address, "DNS over TCP", setting).await? })
}

/// Opens the zone's own store and waits until it has read what it had.
async fn open(args: &RunArgs, mutant: Option<higuma_store::Mutant>) -> anyhow::Result<Store> {
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
        ca_pem: {
            let transport = transport.clone();
            Box::new(move || transport.ca_pem())
        },
        instance: format!("{}-{:016x}", args.zone, random()),
        stop: tasks.token(),
    })
}

/// What the zone's end of KDS needs.
fn global(
    args: &RunArgs,
    zone: &Arc<Zone>,
    transport: &Transport,
    mutant: Option<higuma_kds::Mutant>,
    tasks: &mut Tasks,
) -> Client {
    let (reports_in, reports) = watch::channel(ZoneReport::default());
    let (place, books) = (zone.place.clone(), zone.books.clone());
    let report = progress::follow(place, books, zone.store.watch(), reports_in, tasks.token());
    tasks.spawn("report", report);
    Client {
        zone: zone.name.clone(),
        globals: args.global.iter().map(|address| format!("grpcs://{address}")).collect(),
        tls: Some(transport.grpc_client()),
        pinned: None,
        snapshots: zone.store.watch(),
        inbox: Arc::new(ZoneInbox(zone.clone())),
        reports,
        mutant,
        stop: tasks.token(),
    }
}

/// Says in the log, and beside its readiness, how the zone stands to its global.
async fn say(
    mut states: watch::Receiver<ClientState>,
    ready: watch::Sender<Readiness>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    loop {
        let state = states.borrow_and_update().clone();
        ready.send_modify(|ready| match &state {
            ClientState::Connecting { last_error: Some(why) } => {
                ready.note("global", format!("not reached: {why}"));
            }
            ClientState::Fenced { reason } => ready.note("global", format!("fenced: {reason}")),
            ClientState::Connecting { last_error: None }
            | ClientState::Syncing
            | ClientState::Synced { .. } => ready.done("global"),
        });
        match &state {
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
