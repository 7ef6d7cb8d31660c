//! Dispatch: which crate does what the command line says.

use crate::args::{Command, DpCommand, GlobalCommand, IngressCommand, RemoteCommand, ZoneCommand};
use crate::failure::Failure;
use crate::{demo_app, generate, lab, verbs};

pub(crate) async fn run(command: Command) -> Result<(), Failure> {
    match command {
        Command::Apply(args) => verbs::apply(&args).await,
        Command::Get(args) => verbs::get(&args).await,
        Command::Delete(args) => verbs::delete(&args).await,
        Command::History(args) => verbs::history(&args).await,
        Command::Diff(args) => verbs::diff(&args).await,
        Command::Rollback(args) => verbs::rollback(&args).await,
        Command::Watch(args) => verbs::watch(&args).await,
        Command::Inspect(args) => verbs::inspect(&args).await,
        Command::Backup(args) => verbs::backup(&args).await,
        Command::Restore(args) => verbs::restore(&args),
        Command::Cluster { command } => verbs::cluster(&command).await,
        Command::Zone { command: ZoneCommand::Adopt(args) } => verbs::adopt(&args).await,
        Command::Completion(args) => verbs::completion(&args),
        Command::Version(args) => verbs::version(&args).await,
        Command::Config(args) => verbs::config(&args),
        Command::Generate(args) => generate::generate(&args).await,
        Command::Token(args) => verbs::user_tokens(&args).await,
        Command::Lab(args) => lab::lab(&args).await,
        Command::Global { command: GlobalCommand::Run(args) } => {
            Ok(higuma_global::run(*args).await?)
        }
        Command::Remote { command: RemoteCommand::Run(args) } => {
            Ok(higuma_remote::run(*args).await?)
        }
        Command::Dp { command: DpCommand::Run(args) } => Ok(higuma_dp::run(*args).await?),
        Command::Dp { command: DpCommand::ExecEnvoy(args) } => exec_envoy(&args),
        Command::Ingress { command: IngressCommand::Run(args) } => {
            Ok(higuma_ingress::run(*args).await?)
        }
        Command::DemoApp(args) => Ok(demo_app::run(args).await?),
    }
}

/// Processes log what they do; verbs print their result.
pub(crate) fn is_process(command: &Command) -> bool {
    matches!(
        command,
        Command::Global { .. }
            | Command::Remote { .. }
            | Command::Dp { .. }
            | Command::Ingress { .. }
            | Command::DemoApp(_)
    )
}

/// Becomes Envoy; returns only when that fails.
pub(crate) fn exec_envoy(args: &higuma_dp::ExecEnvoyArgs) -> Result<(), Failure> {
    match higuma_dp::exec_envoy(args) {
        Ok(never) => match never {},
        Err(error) => Err(error.into()),
    }
}
