//! `higuma-chaos`: breaks a Higuma in every way that the host allows, and judges what clients saw.
#![expect(dead_code, reason = "its parts come before the command that uses them")]

mod clean;
mod client;
mod cluster;
mod draw;
mod history;
mod nemesis;
mod registry;
mod run;
#[cfg(test)]
mod testing;
mod verdict;
mod workload;

fn main() {}
