//! Why the store did not do what it was asked.

use higuma_model::Refusal;

use crate::codec::TooLarge;

/// Why a write was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    #[error(transparent)]
    TooLarge(#[from] TooLarge),
    #[error(transparent)]
    Refused(Refusal),
    /// Nothing was proposed.
    #[error("no leader: {0}. Nothing was changed; try again when a majority of the members is up")]
    NoLeader(String),
    /// Nothing was proposed.
    #[error("busy: {0}. Nothing was changed; try again")]
    Busy(String),
    /// It may be applied, now or later.
    #[error("the write's fate is not known ({0}): look before you repeat it")]
    Unknown(String),
}

/// Why a read was not answered.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    #[error("no leader confirms this read: {0}. `stale` reads are still answered")]
    Unavailable(String),
    #[error("this node is at version {have}, version {want} did not arrive in time")]
    Behind { have: u64, want: u64 },
}

/// The node no longer takes part in its cluster.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("this node no longer takes part in its cluster")]
pub struct Stopped;

/// Why what an operator ordered was not done.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// Nothing was done.
    #[error("no leader: {0}. Nothing was done; try again when a majority of the members is up")]
    NoLeader(String),
    /// Nothing was done.
    #[error("{0}")]
    Refused(String),
    /// It may be done, now or later.
    #[error("it is not known whether it was done ({0}): look at `higuma cluster status`")]
    Unknown(String),
}
