//! The step between this process and Envoy: a copy of our own binary that asks the kernel to end
//! it with its parent, and then becomes Envoy. (Setting that in the child of a plain spawn would
//! need `pre_exec`, which is unsafe.)

use std::convert::Infallible;
use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Context as _;
use clap::Args;
use rustix::process::{Signal, getppid, set_parent_process_death_signal};

/// Arguments of the hidden `higuma dp exec-envoy -- PARENT ENVOY [ARGUMENT]...`.
#[derive(Args, Clone, Debug)]
pub struct ExecEnvoyArgs {
    /// The process that Envoy may not outlive
    #[arg(value_name = "PARENT")]
    pub parent: u32,
    /// The Envoy binary
    #[arg(value_name = "ENVOY")]
    pub envoy: PathBuf,
    /// Envoy's own arguments
    #[arg(value_name = "ARGUMENT", trailing_var_arg = true, allow_hyphen_values = true)]
    pub arguments: Vec<OsString>,
}

/// Becomes Envoy, which gets SIGTERM when the parent ends, however that ends.
///
/// # Errors
/// Returns only if it failed: the parent is gone already, or the binary cannot be run.
pub fn exec_envoy(args: &ExecEnvoyArgs) -> anyhow::Result<Infallible> {
    set_parent_process_death_signal(Some(Signal::TERM))
        .context("cannot bind Envoy's life to its parent's")?;
    // The parent may have ended before the line above.
    let parent = getppid().map(|parent| parent.as_raw_nonzero().get().cast_unsigned());
    anyhow::ensure!(parent == Some(args.parent), "the process that wanted this Envoy is gone");
    let error = Command::new(&args.envoy).args(&args.arguments).exec();
    Err(error).with_context(|| format!("cannot run {}", args.envoy.display()))
}

/// How [`exec_envoy`] is reached: a program that calls it, and the words that lead there.
#[derive(Clone, Debug)]
pub struct Launcher {
    program: PathBuf,
    words: Vec<OsString>,
}

impl Launcher {
    /// The running binary, even when its file was replaced meanwhile.
    pub fn this_binary() -> Self {
        Self::new("/proc/self/exe", ["dp", "exec-envoy"])
    }

    /// `program WORDS -- PARENT ENVOY ARGUMENT...` calls [`exec_envoy`].
    pub fn new<W: Into<OsString>>(
        program: impl Into<PathBuf>,
        words: impl IntoIterator<Item = W>,
    ) -> Self {
        Self { program: program.into(), words: words.into_iter().map(Into::into).collect() }
    }

    /// The command that becomes `envoy`; Envoy's arguments are appended to it.
    pub(super) fn command(&self, envoy: &Path) -> Command {
        let mut command = Command::new(&self.program);
        command.args(&self.words).arg("--").arg(std::process::id().to_string()).arg(envoy);
        command
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser)]
    struct Exec {
        #[command(flatten)]
        args: ExecEnvoyArgs,
    }

    #[test]
    fn a_parent_that_is_gone_gets_no_envoy() {
        let words = ["exec-envoy", "--", "1", "/bin/false", "--config-path", "x", "-l", "off"];
        let args = Exec::try_parse_from(words).expect("valid").args;
        assert_eq!(args.envoy, Path::new("/bin/false"));
        assert_eq!(args.arguments, ["--config-path", "x", "-l", "off"]);
        // Process 1 is never the parent of a test.
        let error = exec_envoy(&args).expect_err("not our parent").to_string();
        assert_eq!(error, "the process that wanted this Envoy is gone");
    }
}
