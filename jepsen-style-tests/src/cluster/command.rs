//! The host's programs (`ip`, `iptables`, `mount` …): run to their end, with what they said when
//! they fail.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, bail};

/// Runs a program to its end and returns what it wrote.
pub(crate) fn run(argv: &[&str]) -> anyhow::Result<String> {
    finish(argv, command(argv).stdin(Stdio::null()), None)
}

/// As [`run`], with `input` as its standard input.
pub(crate) fn feed(argv: &[&str], input: &str) -> anyhow::Result<String> {
    finish(argv, command(argv).stdin(Stdio::piped()), Some(input))
}

fn command(argv: &[&str]) -> Command {
    let mut command = Command::new(argv[0]);
    command.args(&argv[1..]).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn finish(argv: &[&str], command: &mut Command, input: Option<&str>) -> anyhow::Result<String> {
    let shown = || argv.join(" ");
    let mut child = command.spawn().with_context(|| format!("cannot run `{}`", shown()))?;
    if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
        // A program that ends without reading all of it says why itself.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child.wait_with_output().with_context(|| format!("cannot run `{}`", shown()))?;
    if !output.status.success() {
        let said = String::from_utf8_lossy(&output.stderr);
        bail!("`{}` failed ({}): {}", shown(), output.status, said.trim());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}
