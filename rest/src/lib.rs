//! Higuma: rest.
