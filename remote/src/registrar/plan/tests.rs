use std::sync::Arc;

use higuma_model::Owner;
use higuma_model::testing::{dataplane, mesh, snapshot, zone_ingress};

use super::*;

const GRACE: Duration = Duration::from_secs(30);

struct World {
    place: Place,
    resources: Vec<Resource>,
    live: LiveProxies,
    absences: Absences,
    start: Instant,
}

impl World {
    fn new() -> Self {
        Self {
            place: Place::Zone("east".into()),
            resources: vec![mesh("default").resource(Owner::Global, 1)],
            live: LiveProxies::new(),
            absences: Absences::new(),
            start: Instant::now(),
        }
    }

    fn connect(&mut self, stream: u64) -> Key {
        let document = dataplane("web-1").tag("kuma.io/service", "web").inbound(80).document();
        let key = document.key();
        let proxy = LiveProxy {
            stream,
            instance: "i".into(),
            document: Arc::new(document),
            connected: Timestamp(1_000),
            leaving: false,
        };
        self.live.insert(key.clone(), proxy);
        key
    }

    /// Plans at some seconds after the start, and applies what is planned.
    fn step(&mut self, seconds: u64, instance: &str) -> Plan {
        let view = View::new("east", Arc::new(snapshot(self.resources.clone())));
        let moment = Moment {
            now: self.start + Duration::from_secs(seconds),
            settled_at: self.start + GRACE,
            time: Timestamp(2_000),
            instance,
        };
        let plan = plan(&self.place, &view, &self.live, &mut self.absences, &moment);
        for operation in &plan.operations {
            self.apply(operation);
        }
        plan
    }

    fn apply(&mut self, operation: &Operation) {
        let version = self.resources.len() as u64 + 10;
        match operation {
            Operation::Put(draft) => {
                self.resources.retain(|resource| resource.key != draft.key);
                self.resources.push(Resource {
                    key: draft.key.clone(),
                    owner: Owner::zone("east"),
                    version,
                    modified_at: version,
                    created: Timestamp(0),
                    modified: Timestamp(0),
                    audience: draft.audience.clone(),
                    labels: draft.labels.clone(),
                    spec: draft.spec.clone(),
                    status: None,
                });
            }
            Operation::Delete(key) => self.resources.retain(|resource| resource.key != *key),
            other => panic!("{other:?}"),
        }
    }

    fn names(&self) -> Vec<&str> {
        let mut names: Vec<_> = self.resources.iter().map(|r| r.key.name()).collect();
        names.sort_unstable();
        names
    }

    fn online(&self, key: &Key) -> Option<bool> {
        let key = insight_key(key);
        let insight = self.resources.iter().find(|resource| resource.key == key)?;
        Some(insight.decode::<DataplaneInsight>().unwrap().is_online())
    }
}

#[test]
fn a_live_proxy_is_registered_once_with_its_insight() {
    let mut world = World::new();
    let key = world.connect(1);
    let plan = world.step(0, "cp");
    assert_eq!(plan.operations.len(), 3, "{:?}", plan.operations);
    let vip = vip::key("web.mesh");
    let mesh = Key::mesh_resource("default");
    assert_eq!(plan.checks, [Check::Exists(mesh), Check::Absent(vip)]);
    assert_eq!(world.online(&key), Some(true));
    assert_eq!(world.step(1, "cp"), Plan::default(), "nothing more to do");
}

#[test]
fn a_proxy_whose_stream_ends_is_offline_at_once_and_deleted_later() {
    let mut world = World::new();
    let key = world.connect(1);
    world.step(40, "cp");
    world.live.clear();
    let plan = world.step(41, "cp");
    assert_eq!(world.online(&key), Some(false));
    assert_eq!(plan.wake_at, Some(world.start + Duration::from_secs(51)));
    world.connect(2);
    world.step(45, "cp");
    assert_eq!(world.online(&key), Some(true), "it is back");
    world.live.clear();
    world.step(50, "cp");
    world.step(59, "cp");
    assert_eq!(world.online(&key), Some(false));
    world.step(60, "cp");
    assert_eq!(world.names(), ["default", "web.mesh"], "the mesh is left, and the address");
}

#[test]
fn after_a_start_nobody_is_called_gone_before_the_grace_is_over() {
    let mut world = World::new();
    let key = world.connect(1);
    world.step(40, "before");
    world.live.clear();
    world.absences.clear();
    world.start += Duration::from_secs(100);
    let plan = world.step(5, "after");
    assert_eq!((plan.operations.len(), world.online(&key)), (0, Some(true)));
    assert_eq!(plan.wake_at, Some(world.start + GRACE));
    world.step(29, "after");
    assert_eq!(world.online(&key), Some(true));
    world.step(30, "after");
    assert_eq!(world.online(&key), None, "it did not come back");
}

#[test]
fn a_leaving_proxy_is_taken_out_at_once_and_an_operators_stays() {
    let mut world = World::new();
    let key = world.connect(1);
    let own = dataplane("by-hand").tag("kuma.io/service", "db").inbound(81);
    world.resources.push(own.resource(Owner::zone("east"), 5));
    world.step(40, "cp");
    world.live.get_mut(&key).unwrap().leaving = true;
    world.step(41, "cp");
    let left = ["by-hand", "db.mesh", "default", "web.mesh"];
    assert_eq!(world.names(), left);
    world.step(100, "cp");
    assert_eq!(world.names(), left);
}

#[test]
fn an_ingress_says_what_other_zones_reach_through_it() {
    let mut world = World::new();
    world.connect(1);
    let document = zone_ingress("ingress-1").address("127.0.0.1", 10001).document();
    let key = document.key();
    let proxy = LiveProxy {
        stream: 2,
        instance: "j".into(),
        document: Arc::new(document),
        connected: Timestamp(1_000),
        leaving: false,
    };
    world.live.insert(key.clone(), proxy);
    world.step(0, "cp");
    world.step(1, "cp");
    let ingress = world.resources.iter().find(|resource| resource.key == key).unwrap();
    let spec: ZoneIngress = ingress.decode().unwrap();
    assert_eq!((spec.zone.as_str(), spec.available_services.len()), ("east", 1));
    assert_eq!(spec.available_services[0].tags["kuma.io/service"], "web");
    assert_eq!(world.step(2, "cp"), Plan::default());
}

#[test]
fn a_service_gets_its_address_with_its_first_proxy_and_keeps_it() {
    let mut world = World::new();
    world.connect(1);
    world.step(40, "cp");
    let vips = |world: &World| {
        let vips = world.resources.iter().filter(|resource| resource.key.kind() == Kind::Vip);
        vips.map(|vip| (vip.key.clone(), vip.spec.clone())).collect::<Vec<_>>()
    };
    let first = vips(&world);
    assert_eq!(first.iter().map(|(key, _)| key.name()).collect::<Vec<_>>(), ["web.mesh"]);
    world.live.clear();
    world.step(41, "cp");
    world.step(60, "cp");
    assert_eq!(vips(&world), first, "the service is gone, its address stays its own");

    let elsewhere = zone_ingress("west-1")
        .available("default", &[("kuma.io/service", "billing")], 1)
        .available("default", &[("kuma.io/service", "web")], 1);
    world.resources.push(elsewhere.resource(Owner::zone("west"), 5));
    let plan = world.step(61, "cp");
    assert_eq!(plan.checks, [Check::Absent(vip::key("billing.mesh"))]);
    assert_eq!(plan.operations.len(), 1, "{:?}", plan.operations);
    assert_eq!(vips(&world).len(), 2);
    assert_eq!(world.step(62, "cp"), Plan::default());
}
