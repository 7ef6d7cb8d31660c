//! `higuma-chaos`.
mod cluster;
mod history;
mod nemesis;
mod run;
mod verdict;
mod workload;
fn main() {}
