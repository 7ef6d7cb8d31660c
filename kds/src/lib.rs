//! Higuma: kds.
