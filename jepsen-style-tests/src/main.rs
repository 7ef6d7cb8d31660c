//! `higuma-chaos`: breaks a Higuma in every way that the host allows, and judges what clients saw.
mod client;
mod cluster;
mod draw;
mod history;
mod nemesis;
mod run;
#[cfg(test)]
mod testing;
mod verdict;
mod workload;
fn main() {}
