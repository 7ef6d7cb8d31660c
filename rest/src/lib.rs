//! Kuma's REST API over a store, for the global and the zone control planes.
//!
//! A request becomes a [`Document`](higuma_model::Document), admission makes it a transaction,
//! the store applies it; reads look at a snapshot as fresh as they ask for. This crate decides
//! nothing about resources: `model` does.

mod answer;
mod api;
mod authority;
mod backup;
mod body;
mod caller;
mod cluster;
mod error;
mod guard;
mod history;
mod idempotency;
mod mutant;
mod needs;
mod orders;
mod origin;
mod overview;
mod path;
mod progress;
mod query;
mod read;
mod roles;
mod tokens;
mod transaction;
mod watch;
mod write;

pub use api::{Api, Authority, CaPair, router};
pub use authority::BuiltinAuthority;
pub use error::{ApiError, Doing};
pub use mutant::Mutant;
pub use progress::{Laggard, NoProgress, Progress, ProxyProgress, ZoneProgress};
pub use roles::{BadRoles, Roles, roles};
