//! A fake Envoy: a delta ADS client that subscribes, confirms and remembers, and runs nothing.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context as _, anyhow};
use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::HttpConnectionManager;
use envoy_types::pb::envoy::extensions::filters::network::http_connection_manager::v3::http_connection_manager::RouteSpecifier;
use envoy_types::pb::envoy::service::discovery::v3::aggregated_discovery_service_client::AggregatedDiscoveryServiceClient;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};
use prost::{Message as _, Name as _};
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::{Channel, ClientTlsConfig, Endpoint};

const PREFIX: &str = "type.googleapis.com/envoy.config.";
/// Requests under way: one per type and a few answers.
const REQUESTS: usize = 64;

/// What the fake has been given, by type (`cluster`, `listener`, `route`, …) and name.
pub type Resources = BTreeMap<String, BTreeMap<String, Vec<u8>>>;

/// One stream to a control plane; it ends with the value.
#[derive(Debug)]
pub struct FakeEnvoy {
    /// What it has confirmed.
    pub resources: watch::Receiver<Resources>,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl FakeEnvoy {
    /// Opens a stream as the proxy whose node has this metadata.
    ///
    /// # Errors
    /// The control plane can't be reached, or refuses the stream.
    pub async fn connect(
        url: &str,
        tls: ClientTlsConfig,
        metadata: &[(&str, String)],
    ) -> anyhow::Result<Self> {
        let channel = Endpoint::from_shared(url.to_owned())?.tls_config(tls)?.connect().await?;
        let node = node(metadata);
        let (resources_in, resources) = watch::channel(Resources::new());
        let mut tasks = JoinSet::new();
        tasks.spawn(follow(channel, node, resources_in));
        Ok(Self { resources, tasks })
    }

    /// Why the stream ended; waits until it does.
    pub async fn ended(&mut self) -> anyhow::Error {
        match self.tasks.join_next().await {
            Some(Ok(Err(error))) => error,
            Some(Ok(Ok(()))) | None => anyhow!("the stream ended"),
            Some(Err(error)) => error.into(),
        }
    }
}

fn node(metadata: &[(&str, String)]) -> Node {
    let value = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
    let fields = metadata.iter().map(|(key, text)| ((*key).to_owned(), value(text)));
    let metadata = Some(Struct { fields: fields.collect() });
    Node { id: "fake".to_owned(), metadata, ..Node::default() }
}

async fn follow(
    channel: Channel,
    node: Node,
    resources: watch::Sender<Resources>,
) -> anyhow::Result<()> {
    let (requests, outbound) = mpsc::channel(REQUESTS);
    for kind in ["cluster.v3.Cluster", "listener.v3.Listener"] {
        let type_url = format!("{PREFIX}{kind}");
        let node = Some(node.clone());
        requests.send(DeltaDiscoveryRequest { node, type_url, ..Default::default() }).await?;
    }
    let mut client = AggregatedDiscoveryServiceClient::new(channel);
    let stream = client.delta_aggregated_resources(ReceiverStream::new(outbound)).await?;
    let mut stream = stream.into_inner();
    let mut asked = BTreeSet::new();
    while let Some(response) = stream.message().await? {
        let wanted = wanted(&response)?;
        resources.send_modify(|all| take(all, &response));
        let ack = DeltaDiscoveryRequest {
            type_url: response.type_url,
            response_nonce: response.nonce,
            ..Default::default()
        };
        requests.send(ack).await?;
        for (type_url, name) in wanted {
            if asked.insert((type_url.clone(), name.clone())) {
                let resource_names_subscribe = vec![name];
                let request = DeltaDiscoveryRequest {
                    type_url,
                    resource_names_subscribe,
                    ..Default::default()
                };
                requests.send(request).await?;
            }
        }
    }
    Err(anyhow!("the control plane closed the stream"))
}

fn take(all: &mut Resources, response: &DeltaDiscoveryResponse) {
    let kind = response.type_url.rsplit('.').next().unwrap_or_default().to_lowercase();
    let held = all.entry(kind).or_default();
    for resource in &response.resources {
        let bytes = resource.resource.as_ref().map(|any| any.value.clone()).unwrap_or_default();
        held.insert(resource.name.clone(), bytes);
    }
    for name in &response.removed_resources {
        held.remove(name);
    }
}

/// What a response makes Envoy ask for by name: the endpoints of clusters and the routes of
/// listeners.
fn wanted(response: &DeltaDiscoveryResponse) -> anyhow::Result<Vec<(String, String)>> {
    let mut wanted = Vec::new();
    for resource in &response.resources {
        let body = resource.resource.as_ref().context("a resource without body")?;
        if response.type_url.ends_with(".Cluster") {
            let endpoints = format!("{PREFIX}endpoint.v3.ClusterLoadAssignment");
            wanted.push((endpoints, resource.name.clone()));
        }
        if response.type_url.ends_with(".Listener") {
            let listener = Listener::decode(body.value.as_slice())?;
            let routes = format!("{PREFIX}route.v3.RouteConfiguration");
            wanted.extend(routes_of(&listener)?.into_iter().map(|name| (routes.clone(), name)));
        }
    }
    Ok(wanted)
}

fn routes_of(listener: &Listener) -> anyhow::Result<Vec<String>> {
    use envoy_types::pb::envoy::config::listener::v3::filter::ConfigType;
    let mut names = Vec::new();
    for filter in listener.filter_chains.iter().flat_map(|chain| &chain.filters) {
        let Some(ConfigType::TypedConfig(config)) = &filter.config_type else { continue };
        if config.type_url != HttpConnectionManager::type_url() {
            continue;
        }
        let manager = HttpConnectionManager::decode(config.value.as_slice())?;
        if let Some(RouteSpecifier::Rds(rds)) = manager.route_specifier {
            names.push(rds.route_config_name);
        }
    }
    Ok(names)
}
