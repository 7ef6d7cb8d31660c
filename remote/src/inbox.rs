//! Where batches from the global go: one transaction each, with the position they lead to.

use std::sync::Arc;

use higuma_kds::batch::Batch;
use higuma_kds::inbox::{Inbox, InboxError};
use higuma_model::{Adopted, Operation};
use higuma_store::{Consistency, WriteError};

use crate::zone::Zone;

/// The zone's end of the downward stream.
pub(crate) struct ZoneInbox(pub(crate) Arc<Zone>);

#[tonic::async_trait]
impl Inbox for ZoneInbox {
    async fn apply(&self, batch: Batch) -> Result<(), InboxError> {
        let replaces = batch.replaces;
        let Some((received, refused)) = batch.into_received() else {
            let why = "a global without versions can't be followed in this version";
            return Err(InboxError::Refused(why.to_owned()));
        };
        for verdict in &refused {
            let (kind, name, reason) = (&verdict.r#type, &verdict.name, &verdict.reason);
            tracing::warn!(
                kind,
                name,
                reason,
                "the global sent what can't be used; kept as it was"
            );
        }
        let (position, builds_on) = (received.position, received.builds_on);
        let (upserts, removed) = (received.upserts.len(), received.removed.len());
        let operation = match replaces {
            Some(replaces) => Operation::Adopt(Adopted { replaces, received }),
            None => Operation::Receive(received),
        };
        let written = self.0.write(Vec::new(), vec![operation]).await;
        written.map_err(|error| match error {
            WriteError::Refused(_) | WriteError::TooLarge(_) => {
                InboxError::Refused(error.to_string())
            }
            WriteError::NoLeader(_) | WriteError::Busy(_) | WriteError::Unknown(_) => {
                InboxError::Unavailable(error.to_string())
            }
        })?;
        tracing::info!(
            cluster = %position.cluster,
            epoch = format!("{:016x}", position.epoch),
            version = position.version,
            from = builds_on,
            upserts,
            removed,
            "followed the global"
        );
        Ok(())
    }

    async fn proof(&self) -> Option<u64> {
        let read = self.0.store.read(Consistency::Linearizable).await;
        read.ok().map(|snapshot| snapshot.version())
    }
}
