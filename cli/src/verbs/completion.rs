//! `higuma completion`: a shell's script that knows all commands and flags.

use clap::CommandFactory as _;

use crate::args::{Arguments, CompletionArgs};
use crate::config_file;
use crate::failure::Failure;
use crate::output::print;

pub(crate) fn completion(args: &CompletionArgs) -> Result<(), Failure> {
    let mut command = config_file::with_flag(Arguments::command());
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, "higuma", &mut script);
    print(String::from_utf8_lossy(&script))
}
