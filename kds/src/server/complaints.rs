//! What went wrong with zones' streams, in the log, but not as fast as a peer can make it happen.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use tonic::Status;

/// One line about a zone in this time. A zone that is told to go away comes back within seconds.
const PAUSE: Duration = Duration::from_secs(10);

/// Zones that are told apart; more than a global has, so that names that a peer makes up cost
/// little.
const MAX_ZONES: usize = 1024;

/// What was said of zones lately.
#[derive(Debug, Clone, Default)]
pub(super) struct Complaints(Arc<Mutex<BTreeMap<Arc<str>, Said>>>);

#[derive(Debug)]
struct Said {
    at: Instant,
    /// Since then.
    unsaid: u64,
}

impl Complaints {
    /// Says why a stream of a zone ends, with how often that was not said lately.
    pub(super) fn say(&self, zone: &Arc<str>, status: &Status, what: &'static str) {
        let Some(unsaid) = self.due(zone, Instant::now()) else { return };
        if unsaid == 0 {
            tracing::warn!(%zone, %status, "{what}");
        } else {
            tracing::warn!(%zone, %status, unsaid, "{what}; others before it were not logged");
        }
    }

    /// How many complaints were kept back, where one is due.
    fn due(&self, zone: &Arc<str>, now: Instant) -> Option<u64> {
        let mut said = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if said.len() >= MAX_ZONES {
            said.retain(|_, said| now - said.at < PAUSE);
        }
        if let Some(said) = said.get_mut(zone) {
            if now - said.at < PAUSE {
                said.unsaid += 1;
                return None;
            }
            said.at = now;
            return Some(std::mem::take(&mut said.unsaid));
        }
        if said.len() >= MAX_ZONES {
            return None;
        }
        said.insert(zone.clone(), Said { at: now, unsaid: 0 });
        Some(0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_zone_is_complained_about_once_in_a_while() {
        let complaints = Complaints::default();
        let (east, west): (Arc<str>, Arc<str>) = ("east".into(), "west".into());
        let start = Instant::now();
        assert_eq!(complaints.due(&east, start), Some(0));
        assert_eq!(complaints.due(&east, start), None);
        assert_eq!(complaints.due(&east, start + PAUSE / 2), None);
        assert_eq!(complaints.due(&west, start), Some(0), "another zone is heard");
        assert_eq!(complaints.due(&east, start + PAUSE), Some(2));
        assert_eq!(complaints.due(&east, start + PAUSE), None);
    }

    #[test]
    fn names_that_a_peer_makes_up_take_no_room() {
        let complaints = Complaints::default();
        let start = Instant::now();
        for n in 0..MAX_ZONES * 2 {
            complaints.due(&format!("z{n}").into(), start);
        }
        assert_eq!(complaints.0.lock().unwrap().len(), MAX_ZONES);
        assert_eq!(complaints.due(&"east".into(), start + PAUSE), Some(0), "old ones make room");
    }
}
