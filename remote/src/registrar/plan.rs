//! What is to be written so that the store agrees with the live proxies. Pure.

use std::collections::BTreeMap;
use std::time::Duration;

use higuma_model::spec::{AvailableService, DataplaneInsight, DiscoverySubscription, ZoneIngress};
use higuma_model::{
    Admission, Check, Draft, Key, Kind, Operation, Place, RequestId, Resource, Snapshot, Timestamp,
    rfc3339,
};
use higuma_xds::available_services;
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
    let mut plan = Plan::default();
    let services = available_services(&view.index);
    for (key, proxy) in live.iter().filter(|(_, proxy)| !proxy.leaving) {
        absences.remove(key);
        match key.kind() {
            Kind::ZoneIngress => plan.register_ingress(place, &view.snapshot, proxy, &services),
            _ => plan.register(place, &view.snapshot, key, proxy, moment),
        }
    }
    let owner = place.owner();
    let proxies = [Kind::Dataplane, Kind::ZoneIngress].map(|kind| view.snapshot.of_kind(kind));
    let own = proxies.into_iter().flatten().filter(|resource| resource.owner == owner);
    let registered: Vec<Key> = own.map(|resource| resource.key.clone()).collect();
    absences.retain(|key, _| registered.contains(key));
    for key in registered {
        match live.get(&key) {
            Some(proxy) if proxy.leaving => plan.delete(&view.snapshot, &key),
            Some(_) => {}
            None => plan.absent(place, &view.snapshot, &key, absences, moment),
        }
    }
    plan
}

impl Plan {
    fn register(
        &mut self,
        place: &Place,
        snapshot: &Snapshot,
        key: &Key,
        proxy: &LiveProxy,
        moment: &Moment<'_>,
    ) {
        let id = RequestId { at: moment.time, random: 0 };
        let admission = Admission { snapshot, place, id, now: moment.time, strict: false };
        match admission.register((*proxy.document).clone()) {
            Ok(admitted) => {
                if let Some(transaction) = admitted.transaction {
                    self.checks.extend(transaction.checks);
                    self.operations.extend(transaction.operations);
                }
            }
            Err(why) => {
                tracing::warn!(proxy = %key, %why, "a running proxy can't be registered any more");
                return;
            }
        }
        let subscription = DiscoverySubscription {
            id: format!("{:016x}", proxy.stream),
            control_plane_instance_id: moment.instance.to_owned(),
            connect_time: Some(rfc3339(proxy.connected)),
            ..DiscoverySubscription::default()
        };
        let insight = DataplaneInsight { subscriptions: vec![subscription], mtls: None };
        self.put(snapshot, place.draft(key.mesh(), key.name(), &insight));
    }

    /// An ingress, with what other zones reach through it.
    fn register_ingress(
        &mut self,
        place: &Place,
        snapshot: &Snapshot,
        proxy: &LiveProxy,
        services: &[AvailableService],
    ) {
        let spec = serde_json::Value::Object(proxy.document.spec.clone());
        let spec = serde_json::from_value::<ZoneIngress>(spec);
        match spec {
            Ok(mut ingress) => {
                ingress.zone = place.zone().map_or_else(String::new, |zone| zone.to_string());
                ingress.available_services = services.to_vec();
                self.put(snapshot, place.draft("", &proxy.document.name, &ingress));
            }
            Err(why) => tracing::warn!(name = proxy.document.name, %why, "unreadable ingress"),
        }
    }

    /// A proxy without a stream: offline at once if the stream was seen, then deleted.
    fn absent(
        &mut self,
        place: &Place,
        snapshot: &Snapshot,
        key: &Key,
        absences: &mut Absences,
        moment: &Moment<'_>,
    ) {
        let insight = snapshot.get(&insight_key(key));
        if key.kind() == Kind::Dataplane && insight.is_none() {
            // Written by an operator, not by a stream: it stays.
            return;
        }
        let since = *absences.entry(key.clone()).or_insert(moment.now);
        let due = (since + DELETE_AFTER).max(moment.settled_at);
        if moment.now >= due {
            return self.delete(snapshot, key);
        }
        self.wake(due);
        if let Some(insight) = insight
            && let Some(closed) = closed(insight, moment)
        {
            self.put(snapshot, place.draft(key.mesh(), key.name(), &closed));
        }
    }

    fn delete(&mut self, snapshot: &Snapshot, key: &Key) {
        let insight = insight_key(key);
        self.operations.push(Operation::Delete(key.clone()));
        if snapshot.get(&insight).is_some() {
            self.operations.push(Operation::Delete(insight));
        }
    }

    /// Puts a resource unless it is there already.
    fn put(&mut self, snapshot: &Snapshot, draft: Result<Draft, Vec<higuma_model::Violation>>) {
        match draft {
            Ok(draft) if !stored(snapshot.get(&draft.key).map(AsRef::as_ref), &draft) => {
                self.operations.push(Operation::Put(draft));
            }
            Ok(_) => {}
            Err(violations) => {
                tracing::error!(?violations, "the zone made a resource that is not valid");
            }
        }
    }

    fn wake(&mut self, at: Instant) {
        self.wake_at = Some(self.wake_at.map_or(at, |earlier| earlier.min(at)));
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
