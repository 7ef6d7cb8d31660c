//! Measures three Higuma globals beside three members of etcd, in one run on one machine: what is
//! asked of one is asked of the other right after, again and again, and the median is told.

mod client;
mod cluster;
mod etcd;
mod failover;
mod higuma;
mod load;
mod output;
mod run;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;

/// How and what to measure.
#[derive(Debug, Parser)]
#[command(about = "Measures Higuma's store beside etcd", after_help = EXAMPLES)]
pub(crate) struct Arguments {
    /// Higuma's binary, of a release build
    #[arg(long, value_name = "FILE", default_value = "target/release/higuma")]
    pub(crate) higuma: PathBuf,
    /// etcd's binary
    #[arg(long, value_name = "FILE", default_value = "etcd")]
    pub(crate) etcd: PathBuf,
    /// Where both keep their data; a folder in it is made and removed
    #[arg(long, value_name = "DIR", default_value = "target")]
    pub(crate) folder: PathBuf,
    /// How often each pair is measured
    #[arg(long, value_name = "N", default_value_t = 5, value_parser = clap::value_parser!(u16).range(1..=99))]
    pub(crate) rounds: u16,
    /// Seconds of each measurement
    #[arg(long, value_name = "S", default_value_t = 4, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub(crate) seconds: u64,
    /// How often each leader is killed; 0 leaves it out
    #[arg(long, value_name = "N", default_value_t = 20)]
    pub(crate) kills: u16,
    /// Clients that call at the same time, each with one call under way
    #[arg(long, value_name = "N,N", value_delimiter = ',', default_values_t = [1, 16, 256])]
    pub(crate) clients: Vec<usize>,
}

const EXAMPLES: &str = "Examples:
  All of it, some fifteen minutes:
    bench-store
  A first look:
    bench-store --rounds 1 --seconds 2 --kills 3 --clients 16";

impl Arguments {
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }
}

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return output::failed(&why.into()),
    };
    match runtime.block_on(run::run(&arguments)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => output::failed(&why),
    }
}
