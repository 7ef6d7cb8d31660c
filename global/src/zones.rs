//! What this node knows of its zones, and what it writes for them: KDS asks it who may come in,
//! hands it what zones send up, and tells it what happens to their streams.
//!
//! ```text
//! zone ══ KDS ══► admit ──► Zone            (absent: created)
//!                 apply ──► the zone's own resources, with its cursor
//!                 observe ─► open streams ──(insights)──► ZoneInsight
//!                 report ──► progress, in memory ──► REST
//! ```

mod insights;
mod metrics;
mod reports;
mod streams;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use higuma_kds::batch::Batch;
use higuma_kds::inbox::{
    Denied, Flow, Inbox, InboxError, ZoneEvent, ZoneReport, ZoneStream, Zones,
};
use higuma_kds::{Hello, Standing};
use higuma_model::spec::Zone;
use higuma_model::{
    Admission, Check, Document, Key, Kind, Labels, Operation, Owner, Place, Precondition, Refusal,
    Rejection, RequestId, Snapshot, Terms, Timestamp, Transaction,
};
use higuma_store::{Consistency, Store, WriteError};
use serde_json::{Map, Value};

pub(crate) use insights::keep as keep_insights;
pub(crate) use metrics::ZonesCollector;
pub(crate) use reports::Reports;
use streams::Streams;

/// Rounds of admission when another node creates the zone at the same time: the second finds it.
const MAX_ROUNDS: u32 = 3;

/// One node's end of all zones.
#[derive(Clone)]
pub(crate) struct Endpoint {
    store: Store,
    streams: Streams,
    pub(crate) reports: Reports,
}

impl Endpoint {
    pub(crate) fn new(store: Store) -> Self {
        let streams = Streams::new(store.node());
        let reports = Reports::new(store.clone(), streams.clone());
        Self { store, streams, reports }
    }

    async fn known(&self) -> Result<Arc<Snapshot>, String> {
        let read = self.store.read(Consistency::Linearizable).await;
        read.map_err(|error| error.to_string())
    }

    /// Why a zone that has no Zone yet can't come in; nothing: now it has one.
    async fn create(&self, snapshot: &Snapshot, zone: &str) -> Result<(), Uncreated> {
        let mut spec = Map::new();
        spec.insert("enabled".to_owned(), Value::Bool(true));
        let document = Document {
            kind: Kind::Zone,
            mesh: String::new(),
            name: zone.to_owned(),
            labels: Labels::new(),
            spec,
        };
        let (id, now) = request_id(snapshot);
        let admission = Admission { snapshot, place: &Place::Global, id, now, strict: true };
        let admitted = match admission.put(document, Some(Precondition::Absent)) {
            Ok(admitted) => admitted,
            Err(Rejection::Precondition { .. }) => return Err(Uncreated::Again),
            Err(why) => return Err(Uncreated::Because(why.to_string())),
        };
        let Some(transaction) = &admitted.transaction else { return Err(Uncreated::Again) };
        match self.store.write(transaction).await {
            Ok(version) => {
                tracing::info!(zone, version, "zone created");
                Ok(())
            }
            Err(WriteError::Refused(Refusal::Demand { .. } | Refusal::Stale { .. })) => {
                Err(Uncreated::Again)
            }
            Err(error) => Err(Uncreated::Because(error.to_string())),
        }
    }
}

/// Why a zone was not created.
enum Uncreated {
    /// The state is not what was looked at: look anew.
    Again,
    Because(String),
}

#[tonic::async_trait]
impl Inbox for Endpoint {
    async fn apply(&self, batch: Batch) -> Result<(), InboxError> {
        let zone = batch.zone().clone();
        let Some((received, refused)) = batch.into_received() else {
            let why = "a zone of Kuma gives its resources no versions; following one is not in \
                       this version of Higuma";
            return Err(InboxError::Refused(why.to_owned()));
        };
        for verdict in &refused {
            let (kind, name, reason) = (&verdict.r#type, &verdict.name, &verdict.reason);
            tracing::warn!(%zone, kind, name, reason, "the zone sent what can't be used");
        }
        let (position, builds_on) = (received.position, received.builds_on);
        let (upserts, removed) = (received.upserts.len(), received.removed.len());
        let (id, at) = request_id(&self.store.snapshot());
        let transaction = Transaction {
            id,
            at,
            writer: Owner::Global,
            demands: Vec::new(),
            // A zone that was deleted meanwhile leaves nothing behind; the next stream creates it.
            checks: vec![Check::Exists(Key::new(Kind::Zone, "", &zone))],
            operations: vec![Operation::Receive(received)],
            terms: Terms::default(),
        };
        let written = self.store.write(&transaction).await;
        written.map_err(|error| match error {
            WriteError::Refused(Refusal::OtherStore { .. }) => {
                InboxError::Refused(format!("zone {zone} {BOUND_ELSEWHERE}"))
            }
            WriteError::Refused(_) | WriteError::TooLarge(_) => {
                InboxError::Refused(error.to_string())
            }
            WriteError::NoLeader(_) | WriteError::Busy(_) | WriteError::Unknown(_) => {
                InboxError::Unavailable(error.to_string())
            }
        })?;
        tracing::info!(
            %zone,
            version = position.version,
            from = builds_on,
            upserts,
            removed,
            "the zone's own resources are written"
        );
        Ok(())
    }

    async fn proof(&self) -> Option<u64> {
        self.known().await.ok().map(|snapshot| snapshot.version())
    }
}

#[tonic::async_trait]
impl Zones for Endpoint {
    async fn admit(&self, flow: Flow, hello: &Hello) -> Result<(), Denied> {
        let denied = |why: String| Denied { zone: hello.zone.clone(), why };
        let key = Key::new(Kind::Zone, "", &hello.zone);
        for _ in 0..MAX_ROUNDS {
            let snapshot = self.known().await.map_err(denied)?;
            if let Some(zone) = snapshot.get(&key) {
                let zone: Zone = zone.decode().map_err(|why| denied(why.to_string()))?;
                if zone.enabled == Some(false) {
                    return Err(denied(format!(
                        "it is disabled: apply the Zone {} with `enabled: true`",
                        hello.zone
                    )));
                }
                let bound = snapshot.cursor(&hello.zone).filter(|_| flow == Flow::ToGlobal);
                return match (bound, hello.position) {
                    (Some(bound), Some(own)) if bound.cluster != own.cluster => {
                        Err(denied(format!("it {BOUND_ELSEWHERE}")))
                    }
                    _ => Ok(()),
                };
            }
            match self.create(&snapshot, &hello.zone).await {
                Ok(()) => return Ok(()),
                Err(Uncreated::Again) => {}
                Err(Uncreated::Because(why)) => return Err(denied(why)),
            }
        }
        Err(denied("it is created and deleted at the same time: try again".to_owned()))
    }

    fn observe(&self, event: ZoneEvent) {
        let (zone, stream) = (&event.zone, event.stream);
        match &event.what {
            ZoneStream::Opened(hello) => tracing::info!(
                %zone,
                flow = ?event.flow,
                stream,
                program = hello.version,
                commits = hello.commits,
                position = hello.position.map(|position| position.version),
                "stream opened"
            ),
            ZoneStream::Closed => {
                tracing::info!(%zone, flow = ?event.flow, stream, "stream closed");
            }
            ZoneStream::Standing(Standing::Fenced(reason)) => {
                tracing::error!(%zone, reason, "the zone does not follow this global");
            }
            ZoneStream::Standing(standing) => tracing::debug!(%zone, ?standing, "zone"),
            ZoneStream::Refused(verdicts) => {
                for verdict in verdicts {
                    let (kind, name) = (&verdict.r#type, &verdict.name);
                    tracing::warn!(%zone, kind, name, reason = verdict.reason, "zone refused");
                }
            }
        }
        if self.streams.observe(event) {
            self.reports.keep(&self.streams);
        }
    }

    fn report(&self, report: ZoneReport) {
        self.reports.take(report);
    }
}

/// Follows a zone's name in the messages that say it.
const BOUND_ELSEWHERE: &str = "is bound to another store: its control plane has another data \
                               folder than the one it joined with. Start it with that one; \
                               replacing a zone's store is not in this version of Higuma";

fn request_id(snapshot: &Snapshot) -> (RequestId, Timestamp) {
    let at = now();
    (snapshot.request_id(at, random()), at)
}

/// This node's clock, at the edge: stamps what is written, decides nothing about safety.
fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A number that is not used twice, for ids.
fn random() -> u64 {
    getrandom::u64().expect("invariant: the kernel's random source answers")
}
