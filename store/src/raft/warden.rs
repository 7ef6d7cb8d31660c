//! Looks after the room on the disks: this member's own, and as the leader everybody's.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::network::Client;
use super::running::Raft;
use super::state_machine::Files;
use super::types::NodeId;
use crate::proto;
use crate::room::{Disk, Room, refusal};

/// Between two looks. A disk that takes 100 MB/s loses less than the mark between two of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// How long a member has to say how much room it has.
const STATUS_LIMIT: Duration = Duration::from_millis(500);

/// What was seen last.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Sight {
    pub(crate) own: Room,
    /// Why this leader refuses puts; none on followers.
    pub(crate) refusal: Option<Arc<str>>,
}

pub(crate) struct Warden {
    pub(crate) node: NodeId,
    pub(crate) raft: Raft,
    pub(crate) files: Arc<Files>,
    pub(crate) disk: Disk,
    /// The other members.
    pub(crate) clients: BTreeMap<NodeId, Client>,
    /// What must be free, beside room for snapshots.
    pub(crate) least: u64,
    pub(crate) sight: watch::Sender<Sight>,
}

impl Warden {
    pub(crate) async fn run(mut self, stop: CancellationToken) {
        loop {
            self.look().await;
            tokio::select! {
                () = stop.cancelled() => return,
                () = tokio::time::sleep(LOOK_EVERY) => {}
            }
        }
    }

    async fn look(&mut self) {
        let before = self.sight.borrow().clone();
        let least = self.least.saturating_add(2 * self.files.counts().bytes);
        let own = match self.disk.look(least) {
            Ok(room) => room,
            Err(error) => {
                tracing::warn!(%error, "can't tell how much room is on the disk");
                before.own
            }
        };
        let free_mib = own.free >> 20;
        if own.is_low && !before.own.is_low {
            tracing::warn!(free_mib, "the disk is nearly full: this node does not lead any more");
        } else if before.own.is_low && !own.is_low {
            tracing::info!(free_mib, "the disk has room again");
        }
        let leader = self.raft.server_metrics().borrow_watched().current_leader;
        // A single member leads, or is about to.
        let leads = leader == Some(self.node) || self.clients.is_empty();
        let refusal = if leads { self.lead(own).await } else { None };
        if refusal != before.refusal {
            match &refusal {
                Some(why) => tracing::warn!(%why, "puts are refused"),
                None => tracing::info!("puts are taken, as far as this node decides it"),
            }
        }
        self.sight.send_replace(Sight { own, refusal });
    }

    /// As the leader: whether puts are refused. Hands over first where this disk is low.
    async fn lead(&self, own: Room) -> Option<Arc<str>> {
        let others = self.ask().await;
        let heir = others.iter().filter_map(|(id, status)| {
            let status = status.as_ref().filter(|status| !status.disk_low)?;
            Some((status.last_index, *id))
        });
        if let Some((_, heir)) = heir.max().filter(|_| own.is_low) {
            tracing::warn!(heir, "handing leadership over to a node with room on its disk");
            if let Err(error) = self.raft.trigger().transfer_leader(heir).await {
                tracing::warn!(%error, "leadership was not handed over");
            }
        }
        let rooms = others.into_iter().map(|(id, status)| {
            let room = |s: proto::StatusReply| Room { free: s.disk_free, is_low: s.disk_low };
            (id, status.map(room))
        });
        let rooms: Vec<(NodeId, Option<Room>)> = rooms.chain([(self.node, Some(own))]).collect();
        refusal(&rooms).map(Into::into)
    }

    async fn ask(&self) -> BTreeMap<NodeId, Option<proto::StatusReply>> {
        let mut asked = JoinSet::new();
        for (id, client) in &self.clients {
            let (id, mut client) = (*id, client.clone());
            asked.spawn(async move {
                let status = client.status(proto::StatusRequest {});
                let status = tokio::time::timeout(STATUS_LIMIT, status).await;
                (id, status.ok().and_then(Result::ok).map(tonic::Response::into_inner))
            });
        }
        asked.join_all().await.into_iter().collect()
    }
}
