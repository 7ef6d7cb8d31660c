//! Envoy's log lines as ours: read from its stderr, logged at their level, the last ones kept for
//! the report of its end.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::io::{AsyncBufReadExt as _, AsyncRead, AsyncReadExt as _, BufReader};

/// Enough for what Envoy says before it ends for a reason of its own.
const KEPT_LINES: usize = 20;
/// Envoy's longest lines quote a refused configuration; what is longer is cut into lines.
const MAX_LINE_BYTES: u64 = 16 << 10;

/// The last lines of a log, shared by who writes and who reports.
#[derive(Clone, Debug, Default)]
pub(super) struct Tail(Arc<Mutex<VecDeque<String>>>);

impl Tail {
    pub(super) fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).iter().cloned().collect()
    }

    fn add(&self, line: &str) {
        let mut lines = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if lines.len() == KEPT_LINES {
            lines.pop_front();
        }
        lines.push_back(line.to_owned());
    }
}

/// Logs every line of `stderr` until it is closed.
pub(super) async fn forward(stderr: impl AsyncRead + Unpin, tail: Tail) {
    let mut reader = BufReader::new(stderr);
    let mut bytes = Vec::new();
    loop {
        bytes.clear();
        match (&mut reader).take(MAX_LINE_BYTES).read_until(b'\n', &mut bytes).await {
            Ok(0) => return,
            Ok(_) => {}
            Err(error) => {
                tracing::warn!(%error, "Envoy's log cannot be read any more");
                return;
            }
        }
        let text = String::from_utf8_lossy(&bytes);
        let line = text.trim_end();
        if !line.is_empty() {
            tail.add(line);
            emit(&Line::parse(line));
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
struct Line<'a> {
    level: &'a str,
    component: &'a str,
    message: &'a str,
}

impl<'a> Line<'a> {
    /// `[level][component] message`; anything else (a usage error, a crash's trace) is a warning.
    fn parse(line: &'a str) -> Self {
        let parts = || {
            let (level, rest) = line.strip_prefix('[')?.split_once("][")?;
            let (component, message) = rest.split_once("] ")?;
            Some(Line { level, component, message })
        };
        parts().unwrap_or(Line { level: "warning", component: "", message: line })
    }
}

fn emit(line: &Line<'_>) {
    let Line { level, component, message } = line;
    match *level {
        "trace" => tracing::trace!(target: "envoy", component, "{message}"),
        "debug" => tracing::debug!(target: "envoy", component, "{message}"),
        "info" => tracing::info!(target: "envoy", component, "{message}"),
        "error" | "critical" => tracing::error!(target: "envoy", component, "{message}"),
        _ => tracing::warn!(target: "envoy", component, "{message}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_keep_their_level() {
        let parsed = |line| {
            let Line { level, component, message } = Line::parse(line);
            (level, component, message)
        };
        assert_eq!(parsed("[error][main] no [a][b] c"), ("error", "main", "no [a][b] c"));
        assert_eq!(parsed("[info][upstream] x"), ("info", "upstream", "x"));
        assert_eq!(parsed("PARSE ERROR: --x"), ("warning", "", "PARSE ERROR: --x"));
        assert_eq!(parsed("[error] x"), ("warning", "", "[error] x"));
    }

    #[tokio::test]
    async fn the_last_lines_are_kept_and_long_ones_are_cut() {
        let long = "x".repeat(usize::try_from(MAX_LINE_BYTES).expect("small") + 10);
        let numbered: String = (0..30).map(|n| format!("[info][main] {n}\n\n")).collect();
        let tail = Tail::default();
        forward(format!("{numbered}{long}\nend").as_bytes(), tail.clone()).await;
        let lines = tail.lines();
        assert_eq!(lines.len(), KEPT_LINES);
        assert_eq!(lines[0], "[info][main] 13");
        assert_eq!(lines[KEPT_LINES - 2..], ["x".repeat(10), "end".to_owned()]);
    }
}
