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
            Err(error) => Self::refused(format!("{error:#}")),
        }
    }
}
