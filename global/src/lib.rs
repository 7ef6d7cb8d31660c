//! Higuma: global.
