//! A resource as an entry of a discovery response, and back: names, labels, ownership.
//!
//! Kuma's rules (`KDS`, what is sent and how it is mapped); on top of them the owner's version
//! stands in the entry's `version`, the owner and the times in its `metadata`.

mod entry;
mod rules;

pub use entry::{decode, encode};
pub use rules::{Direction, MAX_NAME_BYTES, entry_name, split_entry_name};

#[cfg(test)]
mod tests;
