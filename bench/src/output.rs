//! What people see.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "this is where it is printed")]

use std::process::ExitCode;

pub(crate) fn failed(why: &anyhow::Error) -> ExitCode {
    eprintln!("bench-store: {why:#}");
    ExitCode::FAILURE
}

/// How far it is; not part of the result.
pub(crate) fn progress(text: impl std::fmt::Display) {
    eprintln!("{text}");
}

/// A Markdown table, as docs/benchmarks.md has it.
pub(crate) fn table(head: &[&str], rows: &[Vec<String>]) {
    let mut table = comfy_table::Table::new();
    table.load_style(comfy_table::presets::ASCII_MARKDOWN).set_header(head).add_rows(rows);
    println!("\n{table}");
}
