//! Logging to standard error: for people on a terminal, as JSON lines elsewhere.
//!
//! `HIGUMA_LOG` filters (`info`, `higuma_store=debug,info`, …). Standard output stays free for
//! what a command answers.

use std::io::{IsTerminal as _, stderr};
use std::str::FromStr;

use tracing_subscriber::EnvFilter;

/// The environment variable that holds the filter.
pub const FILTER_VARIABLE: &str = "HIGUMA_LOG";
/// openraft tells every vote and heartbeat; what operators need of it, the store says itself.
/// hickory's server tells every query, twice.
const DEFAULT_FILTER: &str = "info,openraft=warn,hickory_server=warn";

/// How log lines look.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// Text on a terminal, JSON otherwise.
    #[default]
    Auto,
    /// One readable line per event.
    Text,
    /// One JSON object per line.
    Json,
}

impl FromStr for Format {
    type Err = LoggingError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "auto" => Ok(Self::Auto),
            "text" => Ok(Self::Text),
            "json" => Ok(Self::Json),
            _ => Err(LoggingError::Format(text.to_owned())),
        }
    }
}

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum LoggingError {
    #[error("log format `{0}` is not known: use one of auto, text, json")]
    Format(String),
    #[error(
        "{FILTER_VARIABLE}=`{filter}` is not a valid filter: {reason}; \
         examples: `debug`, `higuma_store=debug,info`"
    )]
    Filter { filter: String, reason: String },
    #[error("logging was already set up in this process")]
    Twice,
}

/// Sets the process-wide subscriber. Call it once, first thing in `main`.
///
/// # Errors
/// A filter that does not parse, or a second call.
pub fn init(format: Format) -> Result<(), LoggingError> {
    let text = std::env::var(FILTER_VARIABLE).unwrap_or_else(|_| DEFAULT_FILTER.to_owned());
    let lines = tracing_subscriber::fmt().with_env_filter(filter(&text)?).with_writer(stderr);
    let json = match format {
        Format::Auto => !stderr().is_terminal(),
        Format::Text => false,
        Format::Json => true,
    };
    let set = if json {
        lines.json().flatten_event(true).try_init()
    } else {
        lines.with_ansi(stderr().is_terminal()).try_init()
    };
    set.map_err(|_| LoggingError::Twice)
}

fn filter(text: &str) -> Result<EnvFilter, LoggingError> {
    let text = if text.trim().is_empty() { DEFAULT_FILTER } else { text };
    EnvFilter::try_new(text).map_err(|error| LoggingError::Filter {
        filter: text.to_owned(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_and_formats_are_validated() {
        assert_eq!(
            filter("").expect("empty").to_string(),
            "hickory_server=warn,openraft=warn,info"
        );
        assert!(filter("higuma_store=debug,info").is_ok());
        let error = filter("higuma_store=loud").expect_err("no such level").to_string();
        assert!(
            error.starts_with("HIGUMA_LOG=`higuma_store=loud` is not a valid filter"),
            "{error}"
        );
        assert_eq!("json".parse::<Format>().expect("json"), Format::Json);
        assert_eq!(
            "xml".parse::<Format>().expect_err("xml").to_string(),
            "log format `xml` is not known: use one of auto, text, json"
        );
    }
}
