//! The zone's DNS: the table of host names follows the state, the name server answers from it.
//! The state is the zone's own, so names are answered whether or not there is a global.

use std::net::SocketAddr;
use std::sync::Arc;

use higuma_dns::{Forwarder, NameTable, QueryCounts, Sockets};
use higuma_model::{Delta, Kind};
use higuma_serve::{Metrics, Tasks};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::view::View;
use crate::zone::Zone;

/// Starts answering, from what the zone has on its disk.
pub(crate) fn serve(
    zone: &Zone,
    sockets: Sockets,
    metrics: &Metrics,
    tasks: &mut Tasks,
) -> anyhow::Result<()> {
    let views = zone.views.clone();
    let table = NameTable::of(&views.borrow().snapshot);
    tracing::info!(names = table.len(), "answering DNS");
    let (tables_in, tables) = watch::channel(Arc::new(table));
    tasks.spawn("names", follow(views, tables_in, tasks.token()));
    let counts = QueryCounts::default();
    metrics.register(|registry| counts.register(registry));
    let forwarder = forwarder(sockets.udp.local_addr()?);
    let served = higuma_dns::serve(sockets, tables, forwarder, counts, tasks.token());
    tasks.spawn("DNS", async move { Ok(served.await?) });
    Ok(())
}

fn forwarder(own: SocketAddr) -> Option<Forwarder> {
    let forwarder = Forwarder::system(own);
    let say = |why| tracing::warn!(%why, "names outside .mesh are refused");
    forwarder.map_err(say).ok()
}

/// Keeps the table up with the state.
async fn follow(
    mut views: watch::Receiver<Arc<View>>,
    tables: watch::Sender<Arc<NameTable>>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    // The table may be of an older view than the first one here: nothing is taken for known.
    let mut before: Option<Arc<View>> = None;
    loop {
        let view = views.borrow_and_update().clone();
        let since = before.as_ref().map(|before| view.snapshot.since(&before.snapshot));
        if since.as_ref().is_none_or(concerns_names) {
            let table = NameTable::of(&view.snapshot);
            tables.send_if_modified(|current| {
                let changed = **current != table;
                if changed {
                    *current = Arc::new(table);
                }
                changed
            });
        }
        before = Some(view);
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            changed = views.changed() => if changed.is_err() {
                stop.cancelled().await;
                return Ok(());
            }
        }
    }
}

/// Insights change far more often than what names come from.
fn concerns_names(delta: &Delta) -> bool {
    let concerns = |kind| matches!(kind, Kind::Dataplane | Kind::ZoneIngress | Kind::Vip);
    delta.keys().any(|key| concerns(key.kind()))
}
