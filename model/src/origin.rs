//! Who asked for a write, from where and why: kept beside it, and decides nothing.

use std::sync::Arc;

/// Bytes of one reason: a sentence, or a ticket with its title. It is kept with every version.
pub const MAX_REASON_BYTES: usize = 256;

/// Where a write came from. An entry that is older than this record says nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origin {
    /// A user or a process, as the server that took the request knows it.
    pub who: Option<Arc<str>>,
    /// The caller's address; none when a control plane wrote for itself.
    pub from: Option<Arc<str>>,
    /// The member that took the request; 0: unknown.
    pub node: u64,
    /// In the caller's words.
    pub reason: Option<Arc<str>>,
}

/// A reason that can't be kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadReason {
    #[error("has {0} bytes; at most {MAX_REASON_BYTES} are kept")]
    TooLong(usize),
    #[error("must be one line of printable text")]
    NotPrintable,
}

impl Origin {
    /// Checks a reason; one that is empty is none.
    ///
    /// # Errors
    /// It is longer than [`MAX_REASON_BYTES`], or would break a line of a terminal.
    pub fn reason(text: &str) -> Result<Option<Arc<str>>, BadReason> {
        let text = text.trim();
        if text.len() > MAX_REASON_BYTES {
            return Err(BadReason::TooLong(text.len()));
        }
        if text.chars().any(is_unprintable) {
            return Err(BadReason::NotPrintable);
        }
        Ok(Some(text).filter(|text| !text.is_empty()).map(Into::into))
    }
}

/// Control characters, and those that turn or hide what stands beside them.
fn is_unprintable(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_reason_is_one_printable_line_within_its_bound() {
        let reason = |text: &str| Origin::reason(text);
        assert_eq!(reason(" ticket 7: größer "), Ok(Some("ticket 7: größer".into())));
        assert_eq!(reason("  "), Ok(None));
        assert_eq!(reason(&"x".repeat(256)).map(|r| r.is_some()), Ok(true));
        assert_eq!(reason(&"x".repeat(257)), Err(BadReason::TooLong(257)));
        for text in ["a\nb", "a\u{1b}[31mb", "a\u{202e}b", "a\0"] {
            assert_eq!(reason(text), Err(BadReason::NotPrintable), "{text:?}");
        }
    }
}
