//! Deliberate defects, for the tests that must find them.

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mutant {
    /// A transaction of several operations is written as two.
    SplitTransaction,
    /// A request that comes again under its `Idempotency-Key` is taken for a new one.
    ForgetKeys,
    /// Some versions are left out of a watch.
    SkipVersions,
}

impl Mutant {
    /// As people name them.
    pub const NAMES: &[(&str, Self)] = &[
        ("split-transaction", Self::SplitTransaction),
        ("forget-keys", Self::ForgetKeys),
        ("skip-versions", Self::SkipVersions),
    ];
}
