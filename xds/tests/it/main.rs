//! Black-box tests of the generators: golden files, and the real Envoy's opinion of them.

mod cases;
mod envoy;
mod goldens;
mod invariants;
mod reflect;
