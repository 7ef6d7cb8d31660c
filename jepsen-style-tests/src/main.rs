//! `higuma-chaos`: breaks a Higuma in every way that the host allows, and judges what clients saw.

mod args;
mod clean;
mod client;
mod cluster;
mod command;
mod conduct;
mod draw;
mod history;
mod judge;
mod mutants;
mod nemesis;
mod notice;
mod output;
mod registry;
mod report;
mod run;
#[cfg(test)]
mod testing;
mod verdict;
mod workload;

use std::process::ExitCode;

use clap::Parser as _;
use tokio::signal::unix::{SignalKind, signal};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::args::{Arguments, Command};
use crate::command::Failure;
use crate::verdict::Ended;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let filter = tracing_subscriber::EnvFilter::try_from_env("HIGUMA_LOG")
        .unwrap_or_else(|_| "higuma_chaos=info,warn".into());
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(why) => return Failure::Harness(why.into()).tell(),
    };
    match runtime.block_on(with_signals(arguments.command)) {
        Ok(code) => code,
        Err(failure) => failure.tell(),
    }
}

/// SIGINT, SIGTERM and SIGHUP end a run in order; a second one changes nothing, since what has
/// been made has to be taken down.
async fn with_signals(command: Command) -> Result<ExitCode, Failure> {
    let stop = CancellationToken::new();
    let mut listening = JoinSet::new();
    for kind in [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()] {
        let mut signals = signal(kind).map_err(anyhow::Error::from)?;
        let stop = stop.clone();
        listening.spawn(async move {
            while signals.recv().await.is_some() {
                output::note("taking everything down");
                stop.cancel();
            }
        });
    }
    match command {
        Command::Run(args) => command::run(args, stop).await.map(Ended::exit_code),
        Command::Mutants(args) => mutants::mutants(args, stop).await,
        Command::Report(args) => command::report(&args).map(|()| ExitCode::SUCCESS),
        Command::Check(args) => command::check(&args).map(Ended::exit_code),
        Command::Tests => {
            for workload in workload::all() {
                output::print(workload.name());
            }
            Ok(ExitCode::SUCCESS)
        }
        Command::Nemeses => {
            output::print(nemesis::names().join("\n"));
            Ok(ExitCode::SUCCESS)
        }
        Command::Clean(args) => {
            let removed = clean::clean(args.id.as_deref())?;
            for line in &removed {
                output::print(format!("removed {line}"));
            }
            if removed.is_empty() {
                output::print("nothing is left of any run");
            }
            Ok(ExitCode::SUCCESS)
        }
    }
}
