//! `higuma lab`: a whole system on one machine, as real processes of this binary, each with a
//! loopback address, a data folder and a log of its own.
//!
//! ```text
//! topology  who there is: name, address, command line, readiness      (data, no IO)
//! record    what was started: ids that are never mistaken for others' (state.json)
//! process   start in a session of its own, signal, look
//! certificates  for those that are called
//! compose   the lab that compose runs, for `status`
//! up, down  the two in order; whatever goes wrong on the way up is taken down again
//! ```

mod certificates;
mod compose;
mod down;
mod process;
mod record;
mod topology;
mod up;

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::PathBuf;

use clap::{Args, Subcommand, ValueEnum};

use crate::args::Command;
use crate::failure::Failure;
use crate::output::{print, table};
use process::Health;
use record::Record;
use topology::{Layout, Plan};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  higuma lab up                  three globals and two zones on 127.77.x.y, data in .lab
  higuma lab status
  higuma lab kill global-2       as if its power was cut
  higuma lab start global-2
  higuma lab start billing-2     a workload, its app and its proxy, that `up` leaves out
  higuma lab down                ends everything and removes .lab")]
pub(crate) struct LabArgs {
    /// The lab's folder: data, certificates and logs
    #[arg(long, value_name = "DIR", default_value = ".lab", global = true)]
    dir: PathBuf,
    #[command(subcommand)]
    command: LabCommand,
}

#[derive(Debug, Subcommand)]
enum LabCommand {
    /// Start the lab and wait until it is ready
    Up {
        /// The first two numbers of all addresses
        #[arg(long, value_name = "127.N", default_value = topology::DEFAULT_BASE, value_parser = topology::base)]
        base: topology::Base,
        /// Only the three globals, no zones
        #[arg(long)]
        globals_only: bool,
    },
    /// End all its processes and remove its folder
    Down {
        /// Keep data, certificates and logs, for the next `lab up`
        #[arg(long)]
        keep_data: bool,
    },
    /// Show its processes, and the containers of the compose lab
    Status,
    /// Send a signal to processes or workloads, SIGKILL unless another is given
    Kill {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
        #[arg(long, value_enum, ignore_case = true, default_value_t = Signal::Kill)]
        signal: Signal,
    },
    /// Start processes or workloads and wait until they are ready
    Start {
        #[arg(value_name = "NAME", required = true)]
        names: Vec<String>,
    },
    /// Make certificates for processes that a lab of another kind runs
    Certificates(certificates::CertificatesArgs),
    /// What `up` and `start` run: a session of its own, then the process
    #[command(hide = true)]
    Session {
        #[arg(last = true, required = true)]
        argv: Vec<OsString>,
    },
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Signal {
    Kill,
    Term,
    Stop,
    Cont,
}

pub(crate) async fn lab(args: &LabArgs) -> Result<(), Failure> {
    let folder = std::path::absolute(&args.dir)
        .map_err(|error| Failure::usage(format!("--dir {}: {error}", args.dir.display())))?;
    match &args.command {
        LabCommand::Up { base, globals_only } => {
            up::up(Layout { folder, base: *base, globals_only: *globals_only }).await
        }
        LabCommand::Down { keep_data } => down::down(&folder, *keep_data).await,
        LabCommand::Status => status(&folder).await,
        LabCommand::Kill { names, signal } => kill(&Record::load(&folder)?, names, *signal).await,
        LabCommand::Start { names } => {
            let mut record = Record::load(&folder)?;
            let plans = named(&record, names)?;
            up::start(&mut record, &plans).await
        }
        LabCommand::Certificates(args) => certificates::certificates(args),
        LabCommand::Session { .. } => Err(Failure::usage("`lab session` is internal")),
    }
}

/// What [`session`] found.
pub(crate) enum Session<'a> {
    Become(&'a [OsString]),
    None,
}

/// Whether this process only makes a session of its own and becomes another.
pub(crate) fn session(command: &Command) -> Session<'_> {
    match command {
        Command::Lab(LabArgs { command: LabCommand::Session { argv }, .. }) => {
            Session::Become(argv)
        }
        _ => Session::None,
    }
}

/// Leaves the caller's session and terminal, so that Ctrl-C there does not reach this process, and
/// becomes `argv`. Between fork and exec only unsafe code could do that. Returns only on failure.
pub(crate) fn become_leader(argv: &[OsString]) -> Failure {
    let Some((program, arguments)) = argv.split_first() else {
        return Failure::usage("`lab session` needs a command");
    };
    if let Err(error) = rustix::process::setsid() {
        return Failure::refused(format!("cannot make a session: {error}"));
    }
    let error = std::process::Command::new(program).args(arguments).exec();
    Failure::refused(format!("cannot run {}: {error}", program.display()))
}

/// Processes by their own names and those of their workloads, in the order of their start.
fn named(record: &Record, names: &[String]) -> Result<Vec<Plan>, Failure> {
    let plans = topology::plans(&record.layout()?);
    for name in names {
        if !plans.iter().any(|plan| plan.is_named(name)) {
            let mut known: Vec<&str> = plans.iter().map(|plan| &*plan.name).collect();
            known.extend(plans.iter().filter_map(|plan| plan.workload));
            known.dedup();
            let known = known.join(", ");
            return Err(Failure::usage(format!(
                "no process {name:?} in the lab; there are {known}"
            )));
        }
    }
    let chosen = |plan: &Plan| names.iter().any(|name| plan.is_named(name));
    Ok(plans.into_iter().filter(chosen).collect())
}

/// Shows the lab in the folder and those that compose runs; one of them has to be there.
async fn status(folder: &std::path::Path) -> Result<(), Failure> {
    let record = Record::find(folder)?;
    if let Some(record) = &record {
        show(record)?;
    }
    if !compose::status().await? && record.is_none() {
        Record::load(folder)?;
    }
    Ok(())
}

fn show(record: &Record) -> Result<(), Failure> {
    let rows = topology::plans(&record.layout()?).into_iter().map(|plan| {
        let started = record.started(&plan.name);
        let state = match started.map(process::Started::health) {
            None => "not started",
            Some(Health::Running) => "running",
            Some(Health::Stopped) => "stopped",
            Some(Health::Gone) => "dead",
        };
        let pid = started.map_or_else(|| "-".to_owned(), |started| started.pid.to_string());
        let (zone, role) = (plan.zone.unwrap_or("-").to_owned(), plan.role.name().to_owned());
        vec![plan.name, zone, role, plan.address.to_string(), pid, state.to_owned()]
    });
    let heading = ["NAME", "ZONE", "ROLE", "ADDRESS", "PID", "STATE"];
    print(table(&heading, &rows.collect::<Vec<_>>()))
}

async fn kill(record: &Record, names: &[String], signal: Signal) -> Result<(), Failure> {
    let sent_as = match signal {
        Signal::Kill => process::Signal::KILL,
        Signal::Term => process::Signal::TERM,
        Signal::Stop => process::Signal::STOP,
        Signal::Cont => process::Signal::CONT,
    };
    let mut sent = Vec::new();
    for plan in named(record, names)? {
        if let Some(started) = record.started(&plan.name)
            && started.signal(sent_as)?
        {
            print(format!("{}: sent {signal:?} to {}", plan.name, started.pid))?;
            sent.push(*started);
        }
    }
    let names = names.join(", ");
    if sent.is_empty() {
        return Err(Failure::refused(format!("{names}: not running; see `higuma lab status`")));
    }
    if matches!(signal, Signal::Kill) && !process::wait_gone(&sent, down::KILLED).await {
        return Err(Failure::refused(format!("{names}: still there after SIGKILL")));
    }
    Ok(())
}
