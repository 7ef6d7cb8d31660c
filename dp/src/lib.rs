//! Higuma: dp.
