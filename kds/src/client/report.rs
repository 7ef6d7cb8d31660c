//! A zone's reports of progress: on change, and before the global would miss them.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tonic::Code;
use tonic::transport::Channel;

use crate::hello::Hello;
use crate::inbox::ZoneReport;
use crate::proto::higuma::kds::v1::report_client::ReportClient;

/// Reports are no faster than this, however often progress changes: the newest says it all.
const PAUSE: Duration = Duration::from_millis(100);

/// Where the global names no interval, or could not be asked.
const INTERVAL: Duration = Duration::from_secs(5);

/// Bounds on what a global asks for.
const SHORTEST: Duration = Duration::from_secs(1);
const LONGEST: Duration = Duration::from_secs(60);

/// A call that hangs is given up and made anew.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);

pub(super) async fn run(
    zone: &Arc<str>,
    mut reports: watch::Receiver<ZoneReport>,
    channel: Channel,
) -> Infallible {
    let mut client = ReportClient::new(channel);
    loop {
        let report = ZoneReport { zone: zone.to_string(), ..reports.borrow_and_update().clone() };
        let mut call = tonic::Request::new(report);
        Hello::write(zone, None, call.metadata_mut());
        call.set_timeout(CALL_TIMEOUT);
        let interval = match client.send(call).await {
            Ok(received) => {
                let asked = Duration::from_millis(received.into_inner().interval_ms.into());
                // At two thirds, so that one lost report is no missed one.
                (asked * 2 / 3).clamp(SHORTEST, LONGEST)
            }
            Err(status) if status.code() == Code::Unimplemented => {
                return futures::future::pending().await;
            }
            Err(status) => {
                tracing::debug!(%status, "report of progress failed");
                INTERVAL
            }
        };
        tokio::time::sleep(PAUSE).await;
        // A closed channel says nothing new ever: then only the interval counts.
        let changed = async {
            if reports.changed().await.is_err() {
                futures::future::pending::<()>().await;
            }
        };
        tokio::select! {
            () = changed => {}
            () = tokio::time::sleep(interval) => {}
        }
    }
}
