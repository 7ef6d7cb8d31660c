//! Higuma: remote.
