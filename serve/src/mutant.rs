//! Deliberate defects of debug builds, which prove that the chaos harness finds such ones.

/// Names the defect; only debug builds know it.
pub const VARIABLE: &str = "HIGUMA_MUTANT";

/// What is done wrong on purpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// The log calls entries durable that were not synced.
    AckBeforeSync,
    /// A linearizable read answers what this node has, without asking the leader.
    StaleRead,
    /// A zone follows a global whose history is not the one it followed.
    ObeyRolledBackGlobal,
    /// A zone takes what the first list of a new cluster lacks for deleted.
    EmptyListDeletes,
}

const NAMES: &[(&str, Mutant)] = &[
    ("ack-before-sync", Mutant::AckBeforeSync),
    ("stale-read", Mutant::StaleRead),
    ("obey-rolled-back-global", Mutant::ObeyRolledBackGlobal),
    ("empty-list-deletes", Mutant::EmptyListDeletes),
];

/// Why a process does not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MutantError {
    #[error(
        "{VARIABLE} is set, and this is a release build, which has no defects on purpose: unset it"
    )]
    Release,
    #[error("{VARIABLE}={0:?} is not known; there are {known}", known = known())]
    Unknown(String),
}

/// The defect that the environment asks for, with a warning in the log.
///
/// # Errors
/// A release build, or a name that is not known.
pub fn from_environment() -> Result<Option<Mutant>, MutantError> {
    let Some(name) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let mutant = named(&name.to_string_lossy(), cfg!(debug_assertions))?;
    tracing::warn!(mutant = ?mutant, "THIS PROCESS IS BROKEN ON PURPOSE ({VARIABLE})");
    Ok(Some(mutant))
}

fn named(name: &str, debug: bool) -> Result<Mutant, MutantError> {
    if !debug {
        return Err(MutantError::Release);
    }
    let known = NAMES.iter().find(|(known, _)| *known == name).map(|(_, mutant)| *mutant);
    known.ok_or_else(|| MutantError::Unknown(name.to_owned()))
}

fn known() -> String {
    NAMES.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debug_builds_have_mutants_and_only_known_ones() {
        assert_eq!(named("stale-read", true), Ok(Mutant::StaleRead));
        assert_eq!(named("stale-read", false), Err(MutantError::Release));
        let error = named("stale", true).unwrap_err().to_string();
        assert!(error.contains("\"stale\"") && error.contains("ack-before-sync"), "{error}");
    }
}
