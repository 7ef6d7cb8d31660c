//! Writing HTML and SVG: everything that comes from a run goes through [`Text`].

use std::fmt::{self, Write as _};

use serde_json::Value;

use crate::history::Micros;

/// A page in the making.
#[derive(Default)]
pub(super) struct Markup(String);

impl Markup {
    pub(super) fn put(&mut self, text: fmt::Arguments<'_>) {
        self.0.write_fmt(text).expect("invariant: a String takes all that is written to it");
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// Text as it may stand between tags and in quoted attributes. Control characters, which HTML does
/// not allow, become their pictures.
pub(super) struct Text<'a>(pub(super) &'a str);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let special = |c: char| "&<>\"'".contains(c) || (c.is_control() && c != '\n' && c != '\t');
        let mut rest = self.0;
        while let Some(at) = rest.find(special) {
            f.write_str(&rest[..at])?;
            let c = rest[at..].chars().next().expect("invariant: one was found here");
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                _ => {
                    let picture = char::from_u32(0x2400 + u32::from(c)).filter(|_| c < ' ');
                    f.write_char(picture.unwrap_or(char::REPLACEMENT_CHARACTER))?;
                }
            }
            rest = &rest[at + c.len_utf8()..];
        }
        f.write_str(rest)
    }
}

/// At most `most` characters, with a mark where some are cut.
pub(super) fn cut(text: &str, most: usize) -> String {
    if text.chars().count() <= most {
        return text.to_owned();
    }
    text.chars().take(most.saturating_sub(1)).chain(['…']).collect()
}

/// A call or an answer, shorter than JSON: `write key=a value=3`.
pub(super) fn brief(value: &Value) -> String {
    match value {
        Value::Null => "–".to_owned(),
        Value::String(text) => text.clone(),
        Value::Array(items) => format!("[{}]", join(items.iter().map(brief), ", ")),
        Value::Object(fields) => {
            // The two forms in which serde writes an enum: `{"is": "write", …}`, `{"write": {…}}`.
            if let Some(Value::String(is)) = fields.get("is") {
                let rest = fields.iter().filter(|(name, _)| *name != "is").map(field);
                return join(std::iter::once(is.clone()).chain(rest), " ");
            }
            match fields.iter().next() {
                Some((name, inner @ Value::Object(_))) if fields.len() == 1 => {
                    format!("{name} {}", brief(inner))
                }
                _ => join(fields.iter().map(field), " "),
            }
        }
        Value::Bool(_) | Value::Number(_) => value.to_string(),
    }
}

fn field((name, value): (&String, &Value)) -> String {
    match value {
        Value::Object(_) => format!("{name}=({})", brief(value)),
        _ => format!("{name}={}", brief(value)),
    }
}

fn join(parts: impl Iterator<Item = String>, between: &str) -> String {
    parts.filter(|part| !part.is_empty()).collect::<Vec<_>>().join(between)
}

/// A moment of the run.
pub(super) fn moment(at: Micros) -> String {
    format!("{}.{:03} s", at / 1_000_000, at % 1_000_000 / 1000)
}

/// How long something took, with the unit that fits.
#[expect(clippy::cast_precision_loss, reason = "shown with three digits")]
pub(super) fn span(micros: Micros) -> String {
    let value = micros as f64;
    match micros {
        0..1_000 => format!("{micros} µs"),
        1_000..10_000 => format!("{:.2} ms", value / 1e3),
        10_000..1_000_000 => format!("{:.0} ms", value / 1e3),
        1_000_000..100_000_000 => format!("{:.2} s", value / 1e6),
        _ => format!("{:.0} s", value / 1e6),
    }
}

/// 12345 as `12 345`, with spaces that do not break.
pub(super) fn count(number: usize) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push('\u{202f}');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 operation`, `2 operations`.
pub(super) fn counted(number: usize, noun: &str) -> String {
    format!("{} {noun}{}", count(number), if number == 1 { "" } else { "s" })
}

/// Bytes, with the unit that fits.
#[expect(clippy::cast_precision_loss, reason = "shown with two digits")]
pub(super) fn bytes(number: u64) -> String {
    match number {
        0..1024 => format!("{number} B"),
        1024..1_048_576 => format!("{} KiB", number / 1024),
        _ => format!("{:.1} MiB", number as f64 / 1_048_576.0),
    }
}
