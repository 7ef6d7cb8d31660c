//! Writing to the terminal: results to stdout, remarks to stderr, tables without borders.

use std::io::{self, ErrorKind, Write as _};

use comfy_table::{ContentArrangement, Table, presets};
use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::failure::{Exit, Failure};

/// The form of a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Format {
    Table,
    Yaml,
    Json,
}

/// Writes a line (or lines) of the result.
///
/// # Errors
/// [`Exit::Closed`] when the reader of a pipe is gone, so that the command ends quietly.
pub(crate) fn print(text: impl AsRef<str>) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    let text = text.as_ref().trim_end_matches('\n');
    writeln!(stdout, "{text}").and_then(|()| stdout.flush()).map_err(unwritten)
}

/// Writes bytes of a result that is no text.
///
/// # Errors
/// As [`print()`].
pub(crate) fn bytes(bytes: &[u8]) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(bytes).and_then(|()| stdout.flush()).map_err(unwritten)
}

fn unwritten(error: io::Error) -> Failure {
    match error.kind() {
        ErrorKind::BrokenPipe => Failure::new(Exit::Closed, ""),
        _ => Failure::refused(format!("cannot write the result: {error}")),
    }
}

/// Writes a remark that is no part of the result.
pub(crate) fn note(text: impl AsRef<str>) {
    // Nobody is left to be told that stderr is gone.
    let _ = writeln!(io::stderr().lock(), "{}", text.as_ref().trim_end_matches('\n'));
}

/// One value as YAML or JSON.
pub(crate) fn value(value: &Value, format: Format) -> Result<String, Failure> {
    let text = match format {
        Format::Yaml => serde_saphyr::to_string(value).map_err(|error| error.to_string()),
        Format::Table | Format::Json => {
            serde_json::to_string_pretty(value).map_err(|error| error.to_string())
        }
    };
    text.map_err(|error| Failure::refused(format!("cannot write the answer: {error}")))
}

/// Rows under a heading, aligned by spaces.
pub(crate) fn table(heading: &[&str], rows: &[Vec<String>]) -> String {
    let mut table = Table::new();
    table.load_style(presets::NOTHING);
    // A pipe has no width, and wrapped cells cannot be cut by columns.
    table.set_content_arrangement(ContentArrangement::Disabled);
    table.set_header(heading.iter().copied());
    for row in rows {
        table.add_row(row);
    }
    for column in table.column_iter_mut() {
        column.set_padding((0, 3));
    }
    let text = table.to_string();
    text.lines().map(str::trim_end).collect::<Vec<_>>().join("\n")
}

/// How long ago an RFC 3339 time was, in the largest unit: `42s`, `5m`, `3h`, `2d`.
pub(crate) fn age(at: &str, now: OffsetDateTime) -> String {
    let Ok(at) = OffsetDateTime::parse(at, &Rfc3339) else { return "-".to_owned() };
    if at.year() <= 1 {
        return "-".to_owned();
    }
    match (now - at).whole_seconds().max(0) {
        seconds @ 0..120 => format!("{seconds}s"),
        seconds @ 120..7_200 => format!("{}m", seconds / 60),
        seconds @ 7_200..172_800 => format!("{}h", seconds / 3_600),
        seconds => format!("{}d", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn tables_have_no_borders_and_no_trailing_space() {
        let rows = [vec!["1".to_owned(), "leader".to_owned()], vec!["22".into(), "x".into()]];
        assert_eq!(table(&["NODE", "ROLE"], &rows), "NODE   ROLE\n1      leader\n22     x");
    }

    #[test]
    fn ages_are_in_the_largest_unit() {
        let now = datetime!(2026-01-03 00:00:00 UTC);
        for (at, expected) in [
            ("2026-01-02T23:59:18.5Z", "41s"),
            ("2026-01-02T23:55:00Z", "5m"),
            ("2026-01-02T20:00:00Z", "4h"),
            ("2026-01-01T00:00:00Z", "2d"),
            ("2027-01-01T00:00:00Z", "0s"),
            ("0001-01-01T00:00:00Z", "-"),
            ("yesterday", "-"),
        ] {
            assert_eq!(age(at, now), expected, "{at}");
        }
    }
}
