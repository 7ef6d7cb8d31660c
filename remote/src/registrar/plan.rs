//! What is to be written so that the store agrees with the live proxies. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use higuma_model::spec::{
    AvailableService, Dataplane, DataplaneInsight, DiscoverySubscription, Vip, ZoneIngress,
};
use higuma_model::{
    Admission, Check, Draft, Key, Kind, KindSpec, Operation, Place, RequestId, Resource, Snapshot,
    Spec, Timestamp, rfc3339, vip,
};
use higuma_xds::available_services;
use serde::Serialize;
use tokio::time::Instant;

use crate::live::{LiveProxies, LiveProxy};
use crate::view::View;

/// How long a proxy whose stream ended stays registered, offline.
pub(crate) const DELETE_AFTER: Duration = Duration::from_secs(10);

/// Since when registered proxies have no stream.
pub(crate) type Absences = BTreeMap<Key, Instant>;

/// When and by whom a plan is made.
pub(crate) struct Moment<'a> {
    pub(crate) now: Instant,
    /// Nobody is called offline before, unless its stream was seen.
    pub(crate) settled_at: Instant,
    pub(crate) time: Timestamp,
    /// This process, in insights.
    pub(crate) instance: &'a str,
}

/// One transaction, and when to look again.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Plan {
    pub(crate) checks: Vec<Check>,
    pub(crate) operations: Vec<Operation>,
    pub(crate) wake_at: Option<Instant>,
}

pub(crate) fn plan(
    place: &Place,
    view: &View,
    live: &LiveProxies,
    absences: &mut Absences,
    moment: &Moment<'_>,
) -> Plan {
    let snapshot = &*view.snapshot;
    let mut planner = Planner { place, snapshot, moment, plan: Plan::default() };
    let services = available_services(&view.index);
    for (key, proxy) in live.iter().filter(|(_, proxy)| !proxy.leaving) {
        absences.remove(key);
        match key.kind() {
            Kind::ZoneIngress => planner.register_ingress(proxy, &services),
            _ => planner.register(key, proxy),
        }
    }
    let owner = place.owner();
    let proxies = [Kind::Dataplane, Kind::ZoneIngress].map(|kind| snapshot.of_kind(kind));
    let own = proxies.into_iter().flatten().filter(|resource| resource.owner == owner);
    let registered: Vec<Key> = own.map(|resource| resource.key.clone()).collect();
    absences.retain(|key, _| snapshot.get(key).is_some());
    for key in registered {
        match live.get(&key) {
            Some(proxy) if proxy.leaving => planner.delete(&key),
            Some(_) => {}
            None => planner.absent(&key, absences),
        }
    }
    planner.give_addresses();
    planner.plan
}

/// A plan in the making.
struct Planner<'a> {
    place: &'a Place,
    snapshot: &'a Snapshot,
    moment: &'a Moment<'a>,
    plan: Plan,
}

impl Planner<'_> {
    fn register(&mut self, key: &Key, proxy: &LiveProxy) {
        let (snapshot, place, now) = (self.snapshot, self.place, self.moment.time);
        let id = RequestId { at: now, random: 0 };
        let admission = Admission { snapshot, place, id, now, strict: false };
        match admission.register((*proxy.document).clone()) {
            Ok(admitted) => {
                if let Some(transaction) = admitted.transaction {
                    self.plan.checks.extend(transaction.checks);
                    self.plan.operations.extend(transaction.operations);
                }
            }
            Err(why) => {
                tracing::warn!(proxy = %key, %why, "a running proxy can't be registered any more");
                return;
            }
        }
        let subscription = DiscoverySubscription {
            id: format!("{:016x}", proxy.stream),
            control_plane_instance_id: self.moment.instance.to_owned(),
            connect_time: Some(rfc3339(proxy.connected)),
            ..DiscoverySubscription::default()
        };
        let insight = DataplaneInsight { subscriptions: vec![subscription], mtls: None };
        self.put(key.mesh(), key.name(), &insight);
    }

    /// An ingress, with what other zones reach through it.
    fn register_ingress(&mut self, proxy: &LiveProxy, services: &[AvailableService]) {
        let spec = serde_json::Value::Object(proxy.document.spec.clone());
        match serde_json::from_value::<ZoneIngress>(spec) {
            Ok(mut ingress) => {
                ingress.zone = self.place.zone().map_or_else(String::new, |zone| zone.to_string());
                ingress.available_services = services.to_vec();
                self.put("", &proxy.document.name, &ingress);
            }
            Err(why) => tracing::warn!(name = proxy.document.name, %why, "unreadable ingress"),
        }
    }

    /// A proxy without a stream: offline at once if the stream was seen, then deleted.
    fn absent(&mut self, key: &Key, absences: &mut Absences) {
        let (snapshot, moment) = (self.snapshot, self.moment);
        let insight = snapshot.get(&insight_key(key));
        if key.kind() == Kind::Dataplane && insight.is_none() {
            // Written by an operator, not by a stream: it stays.
            return;
        }
        let since = *absences.entry(key.clone()).or_insert(moment.now);
        let due = (since + DELETE_AFTER).max(moment.settled_at);
        if moment.now >= due {
            return self.delete(key);
        }
        let earlier = self.plan.wake_at.unwrap_or(due);
        self.plan.wake_at = Some(earlier.min(due));
        if let Some(closed) = insight.and_then(|insight| closed(insight, moment)) {
            self.put(key.mesh(), key.name(), &closed);
        }
    }

    /// Addresses for the host names of services that are new, those of this plan included.
    fn give_addresses(&mut self) {
        let mut hostnames = vip::hostnames(self.snapshot);
        for operation in &self.plan.operations {
            if let Operation::Put(Draft { key, spec: Spec::Json(spec), .. }) = operation
                && key.kind() == Kind::Dataplane
                && let Ok(dataplane) = serde_json::from_str::<Dataplane>(spec)
            {
                hostnames.extend(dataplane.services().filter_map(vip::hostname));
            }
        }
        hostnames.retain(|hostname| self.snapshot.get(&vip::key(hostname)).is_none());
        let wanted = hostnames.len();
        let given = vip::allocate(self.snapshot, hostnames);
        if given.len() < wanted {
            let (without, most) = (wanted - given.len(), vip::MAX_VIPS);
            tracing::error!(without, most, "the zone has no addresses left for host names");
        }
        for (hostname, address) in given {
            self.plan.checks.push(Check::Absent(vip::key(&hostname)));
            self.put("", &hostname, &Vip { address });
        }
    }

    fn delete(&mut self, key: &Key) {
        let insight = insight_key(key);
        self.plan.operations.push(Operation::Delete(key.clone()));
        if self.snapshot.get(&insight).is_some() {
            self.plan.operations.push(Operation::Delete(insight));
        }
    }

    /// Puts a resource unless it is there already.
    fn put<T: KindSpec + Serialize>(&mut self, mesh: &str, name: &str, spec: &T) {
        match self.place.draft(mesh, name, spec) {
            Ok(draft) if !stored(self.snapshot.get(&draft.key).map(AsRef::as_ref), &draft) => {
                self.plan.operations.push(Operation::Put(draft));
            }
            Ok(_) => {}
            Err(violations) => {
                tracing::error!(?violations, "the zone made a resource that is not valid");
            }
        }
    }
}

fn stored(resource: Option<&Resource>, draft: &Draft) -> bool {
    resource.is_some_and(|resource| {
        resource.spec == draft.spec
            && resource.labels == draft.labels
            && resource.audience == draft.audience
    })
}

fn insight_key(proxy: &Key) -> Key {
    Key::new(Kind::DataplaneInsight, proxy.mesh(), proxy.name())
}

/// The insight with its subscriptions closed, if one is open that may be called over: it was a
/// stream of this process, or those of earlier ones had their time to come back.
fn closed(insight: &Resource, moment: &Moment<'_>) -> Option<DataplaneInsight> {
    let mut insight: DataplaneInsight = insight.decode().ok()?;
    let settled = moment.now >= moment.settled_at;
    let mut over = false;
    for subscription in insight.subscriptions.iter_mut().filter(|s| s.is_open()) {
        if settled || subscription.control_plane_instance_id == moment.instance {
            subscription.disconnect_time = Some(rfc3339(moment.time));
            over = true;
        }
    }
    over.then_some(insight)
}

#[cfg(test)]
mod tests;
