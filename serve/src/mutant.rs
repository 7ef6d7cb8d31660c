//! Deliberate defects of debug builds, which prove that tests under faults find such ones.
//!
//! Each crate names those it has; a process refuses to start with one that it does not have.

/// Names the defect; only debug builds know it.
pub const VARIABLE: &str = "HIGUMA_MUTANT";

/// Why a process does not start.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
pub enum MutantError {
    #[error(
        "{VARIABLE} is set, and this is a release build, which has no defects on purpose: unset it"
    )]
    Release,
    #[error("{VARIABLE}={name:?} is no defect that this process has; there are {known}")]
    Unknown { name: String, known: String },
}

/// The defect that the environment asks for, one of `known`, with a warning in the log.
///
/// # Errors
/// A release build, or a name that is not known.
pub fn from_environment<M: Copy>(known: &[(&str, M)]) -> Result<Option<M>, MutantError> {
    let Some(name) = std::env::var_os(VARIABLE) else { return Ok(None) };
    let name = name.to_string_lossy();
    let mutant = named(&name, known, cfg!(debug_assertions))?;
    tracing::warn!(mutant = %name, "THIS PROCESS IS BROKEN ON PURPOSE ({VARIABLE})");
    Ok(Some(mutant))
}

fn named<M: Copy>(name: &str, known: &[(&str, M)], debug: bool) -> Result<M, MutantError> {
    if !debug {
        return Err(MutantError::Release);
    }
    let mutant = known.iter().find(|(known, _)| *known == name).map(|(_, mutant)| *mutant);
    mutant.ok_or_else(|| MutantError::Unknown {
        name: name.to_owned(),
        known: known.iter().map(|(name, _)| *name).collect::<Vec<_>>().join(", "),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_debug_builds_have_mutants_and_only_known_ones() {
        let known = [("stale-read", 1), ("ack-before-sync", 2)];
        assert_eq!(named("ack-before-sync", &known, true), Ok(2));
        assert_eq!(named("ack-before-sync", &known, false), Err(MutantError::Release));
        let error = named("stale", &known, true).unwrap_err().to_string();
        assert!(error.contains("\"stale\"") && error.contains("ack-before-sync"), "{error}");
    }
}
