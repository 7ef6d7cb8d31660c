//! Real processes: an Envoy under supervision, and the whole process of a proxy. They need the
//! Envoy that `make setup` installs, and fail without it.

mod envoy;
mod run;
mod support;

/// The step between us and Envoy, in a process of its own; does nothing in an ordinary run.
#[test]
fn becomes_envoy() {
    support::become_envoy();
}
