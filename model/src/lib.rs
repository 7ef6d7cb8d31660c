//! model
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome;
