//! `higuma-chaos`.
#![expect(dead_code, reason = "its parts come before the command that uses them")]

mod clean;
mod cluster;
mod history;
mod nemesis;
mod registry;
mod run;
mod verdict;
mod workload;

fn main() {}
