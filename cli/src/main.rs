//! The `higuma` binary: the operator's verbs, the processes, and the lab.
//!
//! What a verb means to the system is decided by the control plane; this talks to it and shows
//! what it says. The processes themselves are in their own crates.

mod args;
mod certificates;
mod client;
mod config_file;
mod demo_app;
mod failure;
mod generate;
mod kind_argument;
mod lab;
mod manifest;
mod output;
mod run;
mod verbs;

use std::process::ExitCode;

use clap::{CommandFactory as _, FromArgMatches as _};

use crate::args::{Arguments, Command, DpCommand};
use crate::failure::{Exit, Failure};

fn main() -> ExitCode {
    let mut command = config_file::with_flag(Arguments::command());
    let words = std::env::args_os().collect();
    let parsed = config_file::matches(command.clone(), words).and_then(|matches| {
        Arguments::from_arg_matches(&matches).map_err(|error| error.format(&mut command))
    });
    let arguments = match parsed {
        Ok(arguments) => arguments,
        Err(error) => error.exit(),
    };
    match start(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if failure.exit != Exit::Closed {
                output::note(format!("error: {}", failure.message));
            }
            ExitCode::from(failure.exit as u8)
        }
    }
}

fn start(arguments: Arguments) -> Result<(), Failure> {
    if let lab::Session::Become(argv) = lab::session(&arguments.command) {
        return Err(lab::become_leader(argv));
    }
    if let Command::Dp { command: DpCommand::ExecEnvoy(args) } = &arguments.command {
        // Before any thread is started: this process becomes Envoy.
        return run::exec_envoy(args);
    }
    higuma_serve::install_crypto_provider();
    if run::is_process(&arguments.command) {
        higuma_serve::logging::init(higuma_serve::logging::Format::Auto)
            .map_err(|error| Failure::usage(error.to_string()))?;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|error| Failure::refused(format!("cannot start threads: {error}")))?;
    runtime.block_on(run::run(arguments.command))
}
