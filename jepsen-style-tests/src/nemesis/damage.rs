//! Harm to what one node has on its disk, and what the node has to say of it.

use serde::{Deserialize, Serialize};

use crate::run::FaultEvent;
use crate::verdict::{Finding, Verdict};

/// What is done to one node's disk. It is never so that what was acknowledged is gone for good: Raft
/// promises nothing to a node that forgets.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "is")]
pub(crate) enum Damage {
    /// The power goes in the middle of a write: what was synced is there, and behind it so many bytes
    /// of something that was not. Started again it has to come back by itself.
    Torn { bytes: u32 },
    /// A byte of its log is another, so far into it, in percent. It has to refuse to start and to name
    /// the file; then the byte is put right.
    Flipped { percent: u8 },
    /// Its data folder is gone. It has to refuse to take part as a new one; then the folder is put back.
    Wiped,
    /// Every sync of its log fails. It has to end by itself; then the disk is well.
    SyncFails,
}

impl Damage {
    pub(crate) fn sort(&self) -> &'static str {
        match self {
            Self::Torn { .. } => "torn",
            Self::Flipped { .. } => "flipped",
            Self::Wiped => "wiped",
            Self::SyncFails => "syncFails",
        }
    }
}

/// What a node did that had to refuse.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Refusal {
    /// It ended by itself.
    pub(crate) ended: bool,
    /// What its message has to hold.
    pub(crate) must_say: String,
    /// The end of its log.
    pub(crate) words: String,
}

impl Refusal {
    fn wrong(&self) -> Option<&'static str> {
        match (self.ended, self.words.contains(&self.must_say)) {
            (false, _) => Some("went on"),
            (true, false) => Some("ended, and did not say so"),
            (true, true) => None,
        }
    }
}

/// Whether all refused that had to; none if nothing was done to make one refuse.
pub(crate) fn refusals(faults: &[FaultEvent]) -> Option<Verdict> {
    let refusals: Vec<_> =
        faults.iter().filter_map(|event| Some((event, event.refusal.as_ref()?))).collect();
    if refusals.is_empty() {
        return None;
    }
    let wrong = refusals.iter().find_map(|(event, refusal)| {
        let (why, must_say, words) = (refusal.wrong()?, &refusal.must_say, &refusal.words);
        Some(format!("{}: it {why} ({must_say:?} is missing): {words}", event.fault))
    });
    let finding = match wrong {
        None => Finding::Held,
        Some(why) => Finding::Violated { why, operations: Vec::new() },
    };
    let figures = vec![("nodes that refused".to_owned(), refusals.len().to_string())];
    Some(Verdict { checker: "damage is refused".to_owned(), finding, figures })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::nemesis::Fault;

    fn judged(refusal: Option<(bool, &str)>) -> Option<Finding> {
        let refusal = refusal.map(|(ended, words)| Refusal {
            ended,
            must_say: "0001.wal".to_owned(),
            words: words.to_owned(),
        });
        let fault = Fault::Damage { node: "global-1".to_owned(), how: Damage::Wiped };
        let event = FaultEvent {
            fault,
            installing: 1,
            installed: Some(2),
            healing: None,
            healed: None,
            failure: None,
            refusal,
        };
        refusals(&[event]).map(|verdict| verdict.finding)
    }

    #[test]
    fn who_goes_on_or_does_not_say_why_is_found() {
        assert_eq!(judged(None), None);
        assert_eq!(judged(Some((true, "the log is damaged: 0001.wal"))), Some(Finding::Held));
        for refusal in [(true, "ended"), (false, "0001.wal")] {
            let found = judged(Some(refusal)).unwrap();
            assert!(matches!(found, Finding::Violated { .. }), "{refusal:?}");
        }
    }
}
