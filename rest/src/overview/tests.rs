use std::collections::BTreeMap;

use higuma_model::spec::{DiscoverySubscription, KdsSubscription};
use higuma_model::testing::{dataplane, snapshot, zone, zone_ingress};
use higuma_model::{Owner, Place, canonical_spec};
use higuma_store::{Options, Store, Timers};
use serde::Serialize;

use super::*;
use crate::api::{Authority, CaPair};
use crate::progress::Progress;

struct NoKeys;

impl Authority for NoKeys {
    fn builtin_ca(&self, _: &str, _: &str) -> Result<CaPair, String> {
        Err("none here".to_owned())
    }
}

/// What a test's node knows: of zone east that all its proxies run 40, but web-2.
struct Known;

impl Progress for Known {
    fn zone(&self, zone: &str) -> Option<ZoneProgress> {
        let laggard = Laggard {
            mesh: "default".to_owned(),
            name: "web-2".to_owned(),
            version: 31,
            reason: "it refused a listener".to_owned(),
        };
        let behind = ZoneProgress { received: 40, version: 31, ..ZoneProgress::default() };
        match zone {
            "east" => Some(ZoneProgress { laggards: vec![laggard], proxies: 2, ..behind }),
            "fresh" => Some(ZoneProgress { version: 40, up_to_date: true, ..behind }),
            "slow" => Some(ZoneProgress { version: 40, ..behind }),
            _ => None,
        }
    }

    fn proxy(&self, key: &Key, zone: &str) -> Option<ProxyProgress> {
        if zone != "east" {
            return None;
        }
        let reason = (key.name() == "web-2").then(|| "it refused a listener".to_owned());
        let version = if reason.is_some() { 31 } else { 40 };
        Some(ProxyProgress { version, up_to_date: reason.is_none(), reason })
    }
}

async fn api(folder: &tempfile::TempDir, place: Place) -> Api {
    let store = Store::open(Options {
        folder: folder.path().to_owned(),
        node: 1,
        members: BTreeMap::from([(1, "127.0.0.1:1".to_owned())]),
        listener: None,
        tls: None,
        timers: Timers::default(),
        mutant: None,
    });
    Api {
        store: store.await.unwrap(),
        place,
        authority: Arc::new(NoKeys),
        progress: Arc::new(Known),
        quota: higuma_model::DEFAULT_QUOTA_BYTES,
        localhost_is_admin: true,
        roles: tokio::sync::watch::channel(Arc::default()).1,
        version: "0.0.0-test",
        mutant: None,
    }
}

fn insight<T: KindSpec + Serialize>(mesh: &str, name: &str, spec: &T, like: Resource) -> Resource {
    let key = Key::new(T::KIND, mesh, name);
    Resource { key, spec: canonical_spec(spec).unwrap(), ..like }
}

const OPEN: &str = "2026-01-02T00:00:00Z";

fn connected(name: &str, node: &str, over: bool) -> Resource {
    let subscription = KdsSubscription {
        id: "a".to_owned(),
        global_instance_id: node.to_owned(),
        connect_time: Some(OPEN.to_owned()),
        disconnect_time: over.then(|| OPEN.to_owned()),
        ..KdsSubscription::default()
    };
    let spec = ZoneInsight { subscriptions: vec![subscription] };
    insight("", name, &spec, zone(name).resource(Owner::Global, 3))
}

fn running(proxy: &Resource) -> Resource {
    let connect_time = Some(OPEN.to_owned());
    let open = DiscoverySubscription { connect_time, ..DiscoverySubscription::default() };
    let spec = DataplaneInsight { subscriptions: vec![open], mtls: None };
    insight(proxy.key.mesh(), proxy.key.name(), &spec, proxy.clone())
}

fn web(name: &str, of: &str, version: u64) -> Resource {
    let web = dataplane(name).tag("kuma.io/service", "web").inbound(8080);
    web.resource(Owner::zone(of), version)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dataplane_is_shown_as_kuma_shows_it() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder, Place::Global).await;
    let proxy = web("web-1", "east", 7);
    let state = snapshot([proxy.clone(), connected("east", "1", false), running(&proxy)]);
    let expected = json!({
        "type": "DataplaneOverview",
        "mesh": "default",
        "name": "web-1",
        "creationTime": "1970-01-01T00:00:00.000Z",
        "modificationTime": "1970-01-01T00:00:00.000Z",
        "labels": {
            "kuma.io/env": "universal", "kuma.io/mesh": "default", "kuma.io/origin": "zone",
            "kuma.io/proxy-type": "sidecar", "kuma.io/zone": "east",
        },
        "dataplane": {"networking": {"address": "192.168.0.1", "inbound": [
            {"port": 8080, "serviceAddress": "127.0.0.1", "tags": {"kuma.io/service": "web"}},
        ]}},
        "dataplaneInsight": {"subscriptions": [state
            .get(&Key::new(Kind::DataplaneInsight, "default", "web-1"))
            .map(|insight| plain(insight)["subscriptions"][0].clone())
            .unwrap()]},
        "higuma": {"version": 40, "upToDate": true, "status": "Online", "reason": null},
    });
    assert_eq!(view(&api, &state, &proxy), expected);
    assert_eq!(expected["dataplaneInsight"]["subscriptions"][0]["connectTime"], OPEN);
}

#[tokio::test(flavor = "multi_thread")]
async fn zones_say_how_they_are() {
    let folder = tempfile::tempdir().unwrap();
    let api = api(&folder, Place::Global).await;
    let state = snapshot([
        connected("east", "1", false),
        connected("fresh", "1", false),
        connected("slow", "1", false),
        connected("silent", "1", false),
        connected("west", "2", false),
        connected("gone", "1", true),
        connected("disabled", "1", false),
    ]);
    let east = "the proxy furthest behind, web-2 of mesh default, runs version 31: it refused a \
                listener";
    for (name, status, version, up_to_date, reason) in [
        ("east", "Online", Some(31), Some(false), Some(east)),
        ("fresh", "Online", Some(40), Some(true), None),
        (
            "slow",
            "Online",
            Some(40),
            Some(false),
            Some("what was written after version 40 is on its way"),
        ),
        ("silent", "Online", None, None, Some("it has not reported yet")),
        (
            "west",
            "Online",
            None,
            None,
            Some("node 2 of the global holds the zone's stream: ask it"),
        ),
        ("gone", "Offline", None, None, Some("its control plane is not connected")),
        ("never", "Offline", None, None, Some("its control plane is not connected")),
        ("disabled", "Offline", None, None, Some("the zone is disabled")),
    ] {
        let zone = if name == "disabled" { zone(name).disabled() } else { zone(name) };
        let shown = view(&api, &state, &zone.resource(Owner::Global, 3));
        let higuma = json!({"version": version, "upToDate": up_to_date, "status": status,
            "reason": reason});
        assert_eq!((&shown["higuma"], &shown["type"]), (&higuma, &json!("ZoneOverview")), "{name}");
        assert_eq!(shown["zoneInsight"].is_object(), name != "never", "{name}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn proxies_say_how_they_are() {
    let folders = [tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap()];
    let global = api(&folders[0], Place::Global).await;
    let east = api(&folders[1], Place::Zone("east".into())).await;
    let ingress = |name: &str, of: &str| zone_ingress(name).resource(Owner::zone(of), 5);
    let [web_1, web_2, dead, lost, west] = [
        web("web-1", "east", 7),
        web("web-2", "east", 7),
        web("dead", "east", 7),
        web("lost", "gone", 7),
        web("far", "west", 7),
    ];
    let state = snapshot([
        connected("east", "1", false),
        connected("west", "2", false),
        connected("gone", "1", true),
        running(&web_1),
        running(&web_2),
        running(&lost),
        running(&west),
    ]);
    let refused = Some("it refused a listener");
    let off = Some("its proxy is not connected to the zone");
    for (what, api, proxy, status, version, reason) in [
        ("fine", &global, &web_1, "Online", Some(40), None),
        ("behind", &global, &web_2, "Online", Some(31), refused),
        ("in its zone", &east, &web_2, "Online", Some(31), refused),
        ("without a stream", &global, &dead, "Offline", None, off),
        (
            "of an offline zone",
            &global,
            &lost,
            "Online",
            None,
            Some("zone gone is offline; this is what it said last"),
        ),
        (
            "another node knows",
            &global,
            &west,
            "Online",
            None,
            Some("node 2 of the global holds the zone's stream: ask it"),
        ),
        ("ingress", &global, &ingress("in", "east"), "Online", Some(40), None),
        ("offline ingress", &global, &ingress("in", "gone"), "Offline", None, off),
        ("ingress in its zone", &east, &ingress("in", "east"), "Online", Some(40), None),
    ] {
        let shown = view(api, &state, proxy)["higuma"].clone();
        assert_eq!(shown["status"], status, "{what}: {shown}");
        assert_eq!(shown["version"], json!(version), "{what}: {shown}");
        assert_eq!(shown["reason"], json!(reason), "{what}: {shown}");
    }
}

#[test]
fn overviews_have_kumas_paths() {
    let one = |kind, mesh: &str, name: &str| Some(Target::One(Key::new(kind, mesh, name)));
    let all = |kind, mesh: Option<&str>| Some(Target::All { kind, mesh: mesh.map(str::to_owned) });
    for (path, expected) in [
        ("/zones/_overview", all(Kind::Zone, None)),
        ("/zones/east/_overview", one(Kind::Zone, "", "east")),
        ("/zoneingresses/_overview", all(Kind::ZoneIngress, None)),
        ("/zoneingresses/in/_overview", one(Kind::ZoneIngress, "", "in")),
        ("/dataplanes/_overview", all(Kind::Dataplane, None)),
        ("/meshes/m/dataplanes/_overview", all(Kind::Dataplane, Some("m"))),
        ("/meshes/m/dataplanes/_overview/", all(Kind::Dataplane, Some("m"))),
        ("/meshes/m/dataplanes/d/_overview", one(Kind::Dataplane, "m", "d")),
        ("/zones+insights", all(Kind::Zone, None)),
        ("/zones+insights/east", one(Kind::Zone, "", "east")),
        ("/meshes/m/dataplanes+insights/d", one(Kind::Dataplane, "m", "d")),
        ("/meshes/_overview", None),
        ("/meshes/m/traffic-routes/_overview", None),
        ("/zones/east", None),
    ] {
        assert_eq!(target(path), expected, "{path}");
    }
}
