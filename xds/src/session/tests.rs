//! The protocol, step by step, and against a client that behaves as Envoy does.

mod client;
mod property;

use envoy_types::pb::envoy::config::cluster::v3::Cluster;
use envoy_types::pb::envoy::config::endpoint::v3::ClusterLoadAssignment;
use envoy_types::pb::envoy::config::listener::v3::Listener;
use envoy_types::pb::envoy::config::route::v3::RouteConfiguration;
use envoy_types::pb::envoy::extensions::transport_sockets::tls::v3::Secret;
use envoy_types::pb::google::rpc::Status;

use super::*;
use crate::config::{Resources, Uses};
use ResourceType::{
    Cluster as Cds, Endpoints as Eds, Listener as Lds, Route as Rds, Secret as Sds,
};

/// A configuration in few words: `name@bytes`, and `name@bytes>used,used` for what names clusters
/// (listeners: `>/route` names a route).
pub(super) fn config(clusters: &str, listeners: &str, routes: &str) -> Config {
    let mut config = Config::default();
    for (name, bytes, _) in words(clusters) {
        let cluster =
            Cluster { name: name.into(), alt_stat_name: bytes.into(), ..Default::default() };
        config.clusters.insert(name.into(), Encoded::new(cluster, Uses::default()));
        let endpoints = ClusterLoadAssignment { cluster_name: name.into(), ..Default::default() };
        config.endpoints.insert(name.into(), Encoded::new(endpoints, Uses::default()));
    }
    for (name, bytes, used) in words(listeners) {
        let stat_prefix = format!("{bytes}>{}", used.join(","));
        let uses = match used.first().and_then(|name| name.strip_prefix('/')) {
            Some(route) => Uses::route(route),
            None => Uses::clusters(used.iter().map(|name| (*name).into()).collect()),
        };
        let listener = Listener { name: name.into(), stat_prefix, ..Default::default() };
        config.listeners.insert(name.into(), Encoded::new(listener, uses));
    }
    for (name, bytes, used) in words(routes) {
        let vhost_header = format!("{bytes}>{}", used.join(","));
        let uses = Uses::clusters(used.iter().map(|name| (*name).into()).collect());
        let route = RouteConfiguration { name: name.into(), vhost_header, ..Default::default() };
        config.routes.insert(name.into(), Encoded::new(route, uses));
    }
    config
}

fn words(text: &str) -> Vec<(&str, &str, Vec<&str>)> {
    text.split_whitespace()
        .map(|word| {
            let (head, used) = word.split_once('>').unwrap_or((word, ""));
            let (name, bytes) = head.split_once('@').unwrap_or((head, ""));
            (name, bytes, used.split(',').filter(|name| !name.is_empty()).collect())
        })
        .collect()
}

fn secrets(names: &[&str]) -> Resources {
    let secret = |name: &&str| {
        let secret = Secret { name: (*name).into(), ..Default::default() };
        (Arc::<str>::from(*name), Encoded::new(secret, Uses::default()))
    };
    names.iter().map(secret).collect()
}

fn at(local: u64) -> Versions {
    Versions { owner: 0, local }
}

fn ask(kind: ResourceType, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.url(),
        resource_names_subscribe: names.iter().map(|name| (*name).to_owned()).collect(),
        ..Default::default()
    }
}

fn ack(response: &DeltaDiscoveryResponse) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: response.type_url.clone(),
        response_nonce: response.nonce.clone(),
        ..Default::default()
    }
}

fn nack(response: &DeltaDiscoveryResponse, message: &str) -> DeltaDiscoveryRequest {
    let error = Status { message: message.to_owned(), ..Default::default() };
    DeltaDiscoveryRequest { error_detail: Some(error), ..ack(response) }
}

/// Responses in few words: `Cluster +a +b -c`.
fn said(responses: &[DeltaDiscoveryResponse]) -> Vec<String> {
    let one = |response: &DeltaDiscoveryResponse| {
        let mut text = format!("{:?}", ResourceType::from_url(&response.type_url).unwrap());
        for resource in &response.resources {
            text += &format!(" +{}", resource.name);
        }
        for name in &response.removed_resources {
            text += &format!(" -{name}");
        }
        text
    };
    responses.iter().map(one).collect()
}

impl Session {
    fn request(&mut self, request: DeltaDiscoveryRequest) -> Vec<DeltaDiscoveryResponse> {
        self.on_request(&request).expect("a request that is served")
    }
}

/// A session whose client runs `config` at version 1.
fn running(config: &Config) -> Session {
    let mut session = Session::new();
    let mut client = client::Client::new();
    session.on_config(config, at(1));
    client.connect();
    client.settle(&mut session);
    assert_eq!(session.acked_version(), Some(at(1)));
    session
}

#[test]
fn a_proxy_starts() {
    let mut config = config("a", "l>a m>/r", "r>a");
    config.secrets = secrets(&["identity"]);
    let mut session = Session::new();
    assert_eq!(said(&session.on_config(&config, at(7))), Vec::<String>::new(), "nothing is asked");
    let cds = session.request(ask(Cds, &[]));
    assert_eq!(said(&cds), ["Cluster +a"]);
    assert_eq!(cds[0].system_version_info, "0/7");
    let eds = session.request(ask(Eds, &["a"]));
    assert_eq!(said(&eds), ["Endpoints +a"]);
    let sds = session.request(ask(Sds, &["identity"]));
    assert_eq!(said(&sds), ["Secret +identity"]);
    assert_eq!(said(&session.request(ack(&sds[0]))), [""; 0]);
    assert_eq!(said(&session.request(ack(&cds[0]))), [""; 0]);
    assert_eq!(
        said(&session.request(ask(Lds, &[]))),
        [""; 0],
        "not before the endpoints are there"
    );
    let lds = session.request(ack(&eds[0]));
    assert_eq!(said(&lds), ["Listener +l +m"]);
    let rds = session.request(ask(Rds, &["r"]));
    assert_eq!(said(&rds), ["Route +r"]);
    session.request(ack(&lds[0]));
    assert_eq!(session.acked_version(), None);
    session.request(ack(&rds[0]));
    assert_eq!(session.acked_version(), Some(at(7)));
}

#[test]
fn an_empty_wildcard_is_answered_and_a_missing_name_too() {
    let mut session = Session::new();
    session.on_config(&Config::default(), at(1));
    let cds = session.request(ask(Cds, &[]));
    assert_eq!(said(&cds), ["Cluster"]);
    assert_eq!(session.request(ack(&cds[0])), []);
    let eds = session.request(ask(Eds, &["gone"]));
    assert_eq!(said(&eds), ["Endpoints -gone"]);
    assert_eq!(session.request(ack(&eds[0])), [], "it is told once");
    assert_eq!(said(&session.request(ask(Eds, &["gone"]))), ["Endpoints -gone"], "or asked again");
    let lds = session.request(ask(Lds, &[]));
    assert_eq!(session.acked_version(), None, "the last answer is outstanding");
    session.request(ack(&lds[0]));
    assert_eq!(session.acked_version(), Some(at(1)));
}

/// Only the first request of a type may ask for everything by naming nothing.
#[test]
fn later_requests_without_names_are_no_wildcards() {
    let mut session = Session::new();
    session.on_config(&config("a b", "", ""), at(1));
    let cds = session.request(ask(Cds, &["a"]));
    assert_eq!(said(&cds), ["Cluster +a"]);
    assert_eq!(session.request(ack(&cds[0])), []);
    assert_eq!(said(&session.request(ask(Cds, &["*"]))), ["Cluster +b"]);
    assert_eq!(said(&session.request(ask(Eds, &[]))), [""; 0]);
}

#[test]
fn unchanged_versions_count_at_once() {
    let same = config("a", "l>a", "");
    let mut session = running(&same);
    assert_eq!(session.on_config(&same, at(2)), []);
    assert_eq!(session.acked_version(), Some(at(2)));
    let changed = session.on_config(&config("a@2", "l>a", ""), at(3));
    assert_eq!(said(&changed), ["Cluster +a"]);
    session.on_config(&config("a@2", "l>a", ""), at(4));
    assert_eq!(session.acked_version(), Some(at(2)), "not before what came before");
    let eds = session.request(ack(&changed[0]));
    assert_eq!(said(&eds), ["Endpoints +a"], "a changed cluster warms with its endpoints");
    session.request(ack(&eds[0]));
    assert_eq!(session.acked_version(), Some(at(4)));
}

/// Invariant 13: additions before removals.
#[test]
fn additions_before_removals() {
    let mut session = running(&config("old", "l>old m>/r", "r>old"));
    let cds = session.on_config(&config("new", "l>new m>/r", "r>new"), at(2));
    assert_eq!(said(&cds), ["Cluster +new"]);
    assert_eq!(session.request(ack(&cds[0])), []);
    let eds = session.request(ask(Eds, &["new"]));
    let both = session.request(ack(&eds[0]));
    assert_eq!(said(&both), ["Listener +l", "Route +r"]);
    assert_eq!(session.request(ack(&both[0])), [], "the route still leads to the old cluster");
    assert_eq!(said(&session.request(ack(&both[1]))), ["Cluster -old"]);
}

#[test]
fn a_cluster_stays_while_connections_of_a_removed_listener_drain() {
    let mut session = running(&config("a b", "l>/r m>b", "r>a"));
    let lds = session.on_config(&config("b", "m>b", ""), at(2));
    assert_eq!(said(&lds), ["Listener -l"]);
    assert_eq!(session.request(ack(&lds[0])), [], "its route leads to the cluster");
    assert_eq!(session.acked_version(), Some(at(2)));
    let mut drained = ask(Rds, &[]);
    drained.resource_names_unsubscribe = vec!["r".to_owned()];
    assert_eq!(said(&session.request(drained)), ["Cluster -a"]);
}

/// Invariant 12: what a client refused is not sent again, what it had stays in force.
#[test]
fn a_nacked_config_leaves_the_last_acked_one_in_force() {
    let mut session = running(&config("a", "l>a", ""));
    let lds = session.on_config(&config("b", "l@bad>b", ""), at(2));
    assert_eq!(said(&lds), ["Cluster +b"]);
    session.request(ack(&lds[0]));
    let eds = session.request(ask(Eds, &["b"]));
    let bad = session.request(ack(&eds[0]));
    assert_eq!(said(&bad), ["Listener +l"]);
    assert_eq!(session.request(nack(&bad[0], "no such filter")), [], "cluster a is still used");
    let nacks = session.nacks();
    assert_eq!((nacks.len(), nacks[0].kind, &*nacks[0].name), (1, Lds, "l"));
    assert_eq!(nacks[0].error, "no such filter");
    assert_eq!(session.on_config(&config("b", "l@bad>b", ""), at(3)), [], "the same bytes");
    assert_eq!(session.acked_version(), Some(at(1)));
    let good = session.on_config(&config("b", "l@good>b", ""), at(4));
    assert_eq!(said(&good), ["Listener +l"]);
    assert_eq!(said(&session.request(ack(&good[0]))), ["Cluster -a"]);
    assert_eq!((session.nacks(), session.acked_version()), (Vec::new(), Some(at(4))));
}

#[test]
fn bytes_refused_before_others_were_are_not_sent_again() {
    let mut session = running(&config("a", "l>a", ""));
    for (local, bytes) in [(2, "bad"), (3, "worse")] {
        let sent = session.on_config(&config("a", &format!("l@{bytes}>a"), ""), at(local));
        assert_eq!(said(&sent), ["Listener +l"]);
        assert_eq!(session.request(nack(&sent[0], bytes)), []);
    }
    assert_eq!(session.on_config(&config("a", "l@bad>a", ""), at(4)), []);
    let nacks = session.nacks();
    assert_eq!((nacks.len(), &*nacks[0].error), (1, "bad"), "the words of then");
    assert_eq!(session.acked_version(), Some(at(1)));
}

/// A resource that is refused in ever new versions must not fill the memory of its stream's server.
#[test]
fn refusals_are_bounded_and_the_one_in_force_is_kept() {
    let mut session = running(&config("a", "l>a", ""));
    for local in 2..3000 {
        let sent = session.on_config(&config("a", &format!("l@{local}>a"), ""), at(local));
        assert_eq!(said(&sent), ["Listener +l"]);
        assert_eq!(session.request(nack(&sent[0], "no")), []);
        assert!(session.of(Lds).refusals() <= subscription::MAX_REFUSED + 1, "at {local}");
    }
    assert_eq!(session.on_config(&config("a", "l@2999>a", ""), at(3000)), [], "the last of them");
}

#[test]
fn one_bad_resource_costs_only_itself() {
    let mut session = Session::new();
    session.on_config(&config("a bad c d", "l>a m>bad", ""), at(1));
    let mut sent = session.request(ask(Cds, &[]));
    let mut steps = Vec::new();
    while let Some(response) = sent.pop() {
        steps.extend(said(std::slice::from_ref(&response)));
        let guilty = response.resources.iter().any(|resource| resource.name == "bad");
        let answer = if guilty { nack(&response, "bad") } else { ack(&response) };
        sent = session.request(answer);
    }
    let expected =
        ["Cluster +a +bad +c +d", "Cluster +a +bad", "Cluster +a", "Cluster +bad", "Cluster +c +d"];
    assert_eq!(steps, expected);
    let eds = session.request(ask(Eds, &["a", "c", "d"]));
    session.request(ack(&eds[0]));
    let lds = session.request(ask(Lds, &[]));
    assert_eq!(said(&lds), ["Listener +l"], "m names a cluster that the client does not have");
}

#[test]
fn a_reconnect_resumes_from_what_the_client_has() {
    let config = config("a b@2", "l>a", "");
    let known = |pairs: &[(&str, &str)]| -> std::collections::HashMap<String, String> {
        pairs.iter().map(|(name, version)| ((*name).to_owned(), (*version).to_owned())).collect()
    };
    let mut session = Session::new();
    session.on_config(&config, at(5));
    let mut cds = ask(Cds, &[]);
    let same = config.clusters["a"].version();
    cds.initial_resource_versions = known(&[("a", same), ("b", "old"), ("c", "old")]);
    let sent = session.request(cds);
    assert_eq!(said(&sent), ["Cluster +b"]);
    assert_eq!(session.request(ack(&sent[0])), [], "listeners that use c may be there");
    let mut eds = ask(Eds, &["a", "b"]);
    let version = |name: &str| config.endpoints[name].version().to_owned();
    eds.initial_resource_versions = known(&[("a", &version("a")), ("b", &version("b"))]);
    let warm = session.request(eds);
    assert_eq!(said(&warm), [""; 0], "both are there");
    let mut lds = ask(Lds, &[]);
    let same = config.listeners["l"].version();
    lds.initial_resource_versions = known(&[("l", same), ("gone", "old")]);
    let removed = session.request(lds);
    assert_eq!(said(&removed), ["Listener"], "a first answer");
    let removed = session.request(ack(&removed[0]));
    assert_eq!(said(&removed), ["Listener -gone"]);
    assert_eq!(said(&session.request(ack(&removed[0]))), ["Cluster -c"]);
    assert_eq!(session.acked_version(), Some(at(5)));
}

#[test]
fn answers_to_old_responses_are_ignored() {
    let mut session = Session::new();
    session.on_config(&config("a", "", ""), at(1));
    let cds = session.request(ask(Cds, &[]));
    let mut stale = nack(&cds[0], "of another stream");
    stale.response_nonce = "77".to_owned();
    assert_eq!(session.request(stale), []);
    assert_eq!(session.nacks(), []);
    session.request(ack(&cds[0]));
    assert_eq!(session.on_config(&config("a", "", ""), at(2)), []);
}

#[test]
fn what_is_not_served_is_refused() {
    let mut session = Session::new();
    let mut request = ask(Cds, &[]);
    request.type_url = "type.googleapis.com/envoy.service.runtime.v3.Runtime".to_owned();
    let error = session.on_request(&request).unwrap_err().to_string();
    assert!(error.contains("Runtime") && error.contains("not served"), "{error}");
    let names: Vec<String> = (0..=MAX_NAMES).map(|name| name.to_string()).collect();
    let mut request = ask(Eds, &[]);
    request.resource_names_subscribe = names;
    assert_eq!(session.on_request(&request), Err(RequestError::TooManyNames(Eds.url())));
}

#[test]
fn responses_are_bounded() {
    let mut config = Config::default();
    let long = "x".repeat(MAX_RESPONSE_BYTES / 3);
    for name in ["a", "b", "c", "d"] {
        let cluster =
            Cluster { name: name.into(), alt_stat_name: long.clone(), ..Default::default() };
        config.clusters.insert(name.into(), Encoded::new(cluster, Uses::default()));
    }
    let mut session = Session::new();
    session.on_config(&config, at(1));
    let first = session.request(ask(Cds, &[]));
    assert_eq!(said(&first), ["Cluster +a +b"]);
    assert_eq!(said(&session.request(ack(&first[0]))), ["Cluster +c +d"]);
}
