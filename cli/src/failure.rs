//! How a command ends when it does not succeed: one message, one exit code.

use std::fmt;

/// Why a command failed, as its exit code says it. 2 is clap's, for a wrong command line.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Exit {
    /// Nobody reads what is written; not an error.
    Closed = 0,
    /// Refused, invalid or not found.
    Refused = 1,
    Usage = 2,
    /// No server could be reached, or none could do it. Nothing was changed.
    Unavailable = 3,
    /// A write may or may not have happened.
    FateUnknown = 4,
}

/// A failed command.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) exit: Exit,
    /// For the user: what, where, what to do next.
    pub(crate) message: String,
}

impl Failure {
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }

    pub(crate) fn refused(message: impl Into<String>) -> Self {
        Self::new(Exit::Refused, message)
    }

    pub(crate) fn usage(message: impl Into<String>) -> Self {
        Self::new(Exit::Usage, message)
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

impl From<anyhow::Error> for Failure {
    fn from(error: anyhow::Error) -> Self {
        match error.downcast::<Self>() {
            Ok(failure) => failure,
            Err(error) => Self::refused(in_words(&error)),
        }
    }
}

/// An error and its causes, but those whose words the one before has said already.
fn in_words(error: &anyhow::Error) -> String {
    let mut words: Vec<String> = Vec::new();
    for cause in error.chain().map(ToString::to_string) {
        if words.last().is_none_or(|before| !before.contains(&cause)) {
            words.push(cause);
        }
    }
    words.join(": ")
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[derive(Debug, thiserror::Error)]
    #[error("cannot sync /data/1.wal: {source}. Mend the disk")]
    struct Told {
        source: std::io::Error,
    }

    #[test]
    fn a_cause_that_was_told_is_not_told_again() {
        let told = Told { source: std::io::Error::other("no such device") };
        let error = Err::<(), _>(told).context("the log failed").unwrap_err();
        let message = Failure::from(error).message;
        assert_eq!(
            message,
            "the log failed: cannot sync /data/1.wal: no such device. Mend the disk"
        );
    }
}
