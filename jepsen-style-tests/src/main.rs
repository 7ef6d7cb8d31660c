//! `higuma-chaos`.
mod clean;
mod cluster;
mod history;
mod nemesis;
mod registry;
mod run;
mod verdict;
mod workload;
fn main() {}
