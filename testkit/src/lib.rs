//! Higuma: testkit.
