//! What every part of a zone's control plane shares.

use std::sync::Arc;
use std::time::{SystemTime, UNIX_EPOCH};

use higuma_model::{Place, Timestamp};
use higuma_store::Store;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use crate::live::Live;
use crate::progress::Books;
use crate::view::View;

/// One zone's control plane.
pub(crate) struct Zone {
    pub(crate) name: Arc<str>,
    pub(crate) place: Place,
    pub(crate) store: Store,
    /// The state, indexed for generating configurations.
    pub(crate) views: watch::Receiver<Arc<View>>,
    /// The proxies whose streams are open.
    pub(crate) live: Live,
    /// What each of them runs.
    pub(crate) books: Books,
    /// PEM of the CA that proxies check this control plane with, as the file has it now.
    pub(crate) ca_pem: Box<dyn Fn() -> String + Send + Sync>,
    /// Tells this process from an earlier one in insights.
    pub(crate) instance: String,
    pub(crate) stop: CancellationToken,
}

/// This node's clock, at the edge: stamps what is written, decides nothing about safety.
pub(crate) fn now() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

/// A number that is not used twice, for ids of requests and instances.
pub(crate) fn random() -> u64 {
    getrandom::u64().expect("invariant: the kernel's random source answers")
}
