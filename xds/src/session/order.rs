//! What may be sent now: what is named before what names it, removals last.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::subscription::Named;
use super::{MAX_RESPONSE_BYTES, Session};
use crate::config::{Config, Encoded, ResourceType};

/// The next response of a type.
pub(super) enum Due {
    Nothing,
    /// May be empty: a first response that says that there is nothing.
    Upserts(Vec<Named>),
    Removed(Vec<Arc<str>>),
}

/// When a resource may be sent.
#[derive(PartialEq, Eq)]
enum When {
    Now,
    /// The client will have what it names.
    Later,
    /// The client refused a cluster that it names.
    Never,
}

pub(super) fn due(session: &mut Session, config: &Config, kind: ResourceType) -> Due {
    let target = config.of(kind);
    if let Some(suspects) = session.of_mut(kind).next_suspects(target) {
        return Due::Upserts(suspects);
    }
    let subscription = session.of(kind);
    let lacking: Vec<Named> = subscription.lacks(target).collect();
    let when = |(_, encoded): &Named| when(session, config, encoded);
    let waiting = lacking.iter().any(|named| when(named) == When::Later);
    let awaits_first = subscription.awaits_first();
    if waiting && awaits_first {
        // A first response is taken for all there is: listeners would be reported ready too early.
        return Due::Nothing;
    }
    let ready = bounded(lacking.into_iter().filter(|named| when(named) == When::Now));
    if !ready.is_empty() || awaits_first {
        return Due::Upserts(ready);
    }
    let missing = subscription.missing(target);
    if !missing.is_empty() {
        return Due::Removed(missing);
    }
    let stale = if waiting { Vec::new() } else { stale(session, config, kind) };
    if stale.is_empty() { Due::Nothing } else { Due::Removed(stale) }
}

/// Whether the client has all of `config`, and no listener besides.
pub(super) fn runs(session: &Session, config: &Config) -> bool {
    let has_all = |kind: ResourceType| {
        let subscription = session.of(kind);
        let mut target = config.of(kind).iter();
        target.all(|(name, encoded)| subscription.has_version(name, encoded.version()))
            && subscription.lacks(config.of(kind)).next().is_none()
            && !subscription.awaits_answer()
    };
    let both_asked = session.of(ResourceType::Cluster).is_asked()
        && session.of(ResourceType::Listener).is_asked();
    let mut listeners = session.of(ResourceType::Listener).all(&config.listeners);
    both_asked
        && ResourceType::ALL.into_iter().all(has_all)
        && listeners.all(|(name, _)| config.listeners.contains_key(name))
}

fn when(session: &Session, config: &Config, encoded: &Encoded) -> When {
    let uses = encoded.uses();
    if uses.clusters.is_empty() && uses.routes.is_empty() {
        return When::Now;
    }
    let clusters = session.of(ResourceType::Cluster);
    let endpoints = session.of(ResourceType::Endpoints);
    let secrets = session.of(ResourceType::Secret);
    let mut when = When::Now;
    for name in &uses.clusters {
        let known = clusters.has(name);
        let refused =
            config.clusters.get(name).is_none_or(|c| clusters.has_refused(name, c.version()));
        if !known && refused {
            return When::Never;
        }
        // Envoy refuses endpoints of a cluster, not the cluster: what names it may go on.
        let warm = config.endpoints.get(name).is_none_or(|encoded| {
            endpoints.has(name) || endpoints.has_refused(name, encoded.version())
        });
        if !known || !warm {
            when = When::Later;
        }
    }
    let secrets_wait =
        secrets.in_flight().next().is_some() || secrets.lacks(&config.secrets).next().is_some();
    if secrets_wait { When::Later } else { when }
}

/// What the client has and should not, as far as it may lose it now. It drops endpoints, routes and
/// secrets by itself when nothing uses them, which for routes is after connections have drained.
fn stale(session: &Session, config: &Config, kind: ResourceType) -> Vec<Arc<str>> {
    let target = config.of(kind);
    let held = session.of(kind).all(target).map(|(name, _)| name);
    let stale = held.filter(|name| !target.contains_key(*name));
    match kind {
        ResourceType::Listener => stale.cloned().collect(),
        ResourceType::Cluster => match used_clusters(session, config) {
            Some(used) => stale.filter(|name| !used.contains(*name)).cloned().collect(),
            None => Vec::new(),
        },
        // A client drops these by itself.
        ResourceType::Endpoints | ResourceType::Route | ResourceType::Secret => Vec::new(),
    }
}

/// The clusters that listeners and routes of the client name; `None` while some of those are not known.
fn used_clusters(session: &Session, config: &Config) -> Option<BTreeSet<Arc<str>>> {
    let (listeners, routes) = (session.of(ResourceType::Listener), session.of(ResourceType::Route));
    if !listeners.is_asked() {
        return None;
    }
    let mut used = BTreeSet::new();
    for (_, encoded) in listeners.all(&config.listeners) {
        let uses = encoded?.uses();
        if uses.routes.iter().any(|route| !routes.has(route)) {
            return None;
        }
        used.extend(uses.clusters.iter().cloned());
    }
    for (_, encoded) in routes.all(&config.routes) {
        used.extend(encoded?.uses().clusters.iter().cloned());
    }
    for (_, encoded) in listeners.in_flight().chain(routes.in_flight()) {
        used.extend(encoded.uses().clusters.iter().cloned());
    }
    Some(used)
}

/// As many as fit one response, and at least one.
fn bounded(named: impl Iterator<Item = Named>) -> Vec<Named> {
    let mut bytes = 0;
    let fits = |(_, encoded): &Named| {
        let fits = bytes == 0 || bytes + encoded.any().value.len() <= MAX_RESPONSE_BYTES;
        bytes += encoded.any().value.len();
        fits
    };
    named.take_while(fits).collect()
}
