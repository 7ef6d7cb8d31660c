use super::*;

#[test]
fn a_write_whose_outcome_is_not_known_is_reported_as_unknown() {
    let expired = || Outcome::Refused(Refusal::Expired);
    let first = written(expired(), None);
    assert!(matches!(first, Err(WriteError::Refused(Refusal::Expired))), "{first:?}");
    let repeated = written(expired(), Some("node 2 did not answer".to_owned()));
    assert!(matches!(repeated, Err(WriteError::Unknown(_))), "{repeated:?}");
    let stale = Outcome::Refused(Refusal::Stale { what: "it changed".to_owned() });
    let repeated = written(stale, Some("node 2 did not answer".to_owned()));
    assert!(matches!(repeated, Err(WriteError::Refused(_))), "the kept result: {repeated:?}");
    let done = written(Outcome::Done { version: 7 }, Some("node 2".to_owned()));
    assert_eq!(done.unwrap(), 7);
}
