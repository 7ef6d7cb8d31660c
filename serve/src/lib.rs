//! Higuma: serve.
