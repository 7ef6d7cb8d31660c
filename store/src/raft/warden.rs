//! Looks after the room on the disks: this member's own, and as the leader everybody's.

use std::sync::Arc;
use std::time::Duration;

use openraft::async_runtime::watch::WatchReceiver as _;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::changes;
use super::log_writer::Raise;
use super::network::REMOVED_KEY;
use super::roster::Roster;
use super::running::Raft;
use super::state_machine::Files;
use super::types::{LogId, NodeId};
use crate::proto;
use crate::room::{Disk, Room, refusal};

/// Between two looks. A disk that takes 100 MB/s loses less than the mark between two of them.
const LOOK_EVERY: Duration = Duration::from_secs(1);

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
    pub(crate) roster: Roster,
    /// What must be free, beside room for snapshots.
    pub(crate) least: u64,
    pub(crate) sight: watch::Sender<Sight>,
    pub(crate) raise: Raise,
    /// The change of voters that was under way at the last look.
    pub(crate) changing: Option<LogId>,
    /// Who was asked last whether this node still is a member.
    pub(crate) asked: NodeId,
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
        let leads = leader == Some(self.node) || self.roster.members().len() == 1;
        let refusal = match leads {
            true => {
                self.changing = changes::finish(&self.raft, self.changing).await;
                self.lead(own).await
            }
            false => {
                self.ask_whether_removed().await;
                None
            }
        };
        if refusal != before.refusal {
            match &refusal {
                Some(why) => tracing::warn!(%why, "puts are refused"),
                None => tracing::info!("puts are taken, as far as this node decides it"),
            }
        }
        self.sight.send_replace(Sight { own, refusal });
    }

    /// A node that was removed hears from nobody any more, so it asks: it must stop.
    async fn ask_whether_removed(&mut self) {
        let members = self.roster.members();
        let others = members.keys().filter(|id| **id != self.node);
        // One after the other: a single one may be down for long.
        let Some(other) =
            others.clone().find(|id| **id > self.asked).or_else(|| others.clone().next())
        else {
            return;
        };
        self.asked = *other;
        if let Err(refused) = self.roster.ask_one(*other).await
            && refused.metadata().contains_key(REMOVED_KEY)
        {
            tracing::error!(why = refused.message(), "this node must stop");
            self.raise.raise(refused.message());
        }
    }

    /// As the leader: whether puts are refused. Hands over first where this disk is low.
    async fn lead(&self, own: Room) -> Option<Arc<str>> {
        let members = self.roster.members();
        let others = self.roster.ask().await.into_iter();
        // A learner neither leads nor counts for a majority.
        let others = others.filter(|(id, _)| members.get(id).is_some_and(|known| known.votes));
        let others: Vec<_> = others.map(|(id, status)| (id, status.ok())).collect();
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
}
