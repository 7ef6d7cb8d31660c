//! The zone control plane: follows the global (or is on its own, without one), owns the zone's proxies, and brings every Envoy of
//! the zone what it runs. It serves from its own disk before it connects to anything.
//!
//! ```text
//! global ══KDS══► inbox ──► Store ──► view (index) ──► stream per Envoy ══ADS══► Envoy
//!                             ▲         │                    │ opened, closed
//!                             │         └──► names ──► DNS   │
//!                             └──────── registrar ◄── live ◄─┘
//! ```

mod adopt;
mod ads;
mod bootstrap;
mod credential;
mod flags;
mod inbox;
mod live;
mod mutant;
mod names;
mod progress;
mod registrar;
mod run;
mod standing;
mod stream;
mod view;
mod write;
mod zone;

pub use flags::RunArgs;
pub use run::run;
