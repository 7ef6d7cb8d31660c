//! Scalars of proto3 JSON: what is read, and the one form that is written.

use serde_json::Value;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::walk::shown;

/// What stands where something else is expected.
pub(super) fn found(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a bool",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "a list",
        Value::Object(_) => "an object",
    }
}

pub(super) fn text(value: &Value) -> Result<Value, String> {
    match value {
        Value::String(_) => Ok(value.clone()),
        Value::Bool(_) | Value::Number(_) => {
            Err(format!("must be a string, not {}; put {} in quotes", found(value), shown(value)))
        }
        _ => Err(format!("must be a string, not {}", found(value))),
    }
}

pub(super) fn boolean(value: &Value) -> Result<Value, String> {
    match value {
        Value::Bool(_) => Ok(value.clone()),
        _ => Err(format!("must be true or false, not {}", found(value))),
    }
}

pub(super) fn uint32(value: &Value) -> Result<Value, String> {
    let number = whole(value).and_then(|number| u32::try_from(number).ok());
    number.map(Value::from).ok_or_else(|| {
        format!("must be a whole number from 0 to {}, not {}", u32::MAX, shown(value))
    })
}

pub(super) fn port(value: &Value) -> Result<Value, String> {
    // 0 is the default, so absent; where a port must be there is for `validate` to say.
    let number = whole(value).and_then(|number| u16::try_from(number).ok());
    number.map(Value::from).ok_or_else(|| "port must be in the range [1, 65535]".to_owned())
}

pub(super) fn uint64(value: &Value) -> Result<Value, String> {
    let number = whole(value).map(|number| Value::from(number.to_string()));
    number.ok_or_else(|| format!("must be a whole number of 64 bits, not {}", shown(value)))
}

/// Above 2^53 a double no longer tells whole numbers apart.
const EXACT: f64 = 9_007_199_254_740_992.0;

/// A whole number, also as a string of digits or with an empty fraction.
fn whole(value: &Value) -> Option<u64> {
    match value {
        Value::Number(number) => number.as_u64().or_else(|| {
            let double = number.as_f64()?;
            let exact = double.fract() == 0.0 && (0.0..=EXACT).contains(&double);
            exact.then(|| format!("{double:.0}").parse().ok()).flatten()
        }),
        Value::String(digits) if digits.bytes().all(|c| c.is_ascii_digit()) => digits.parse().ok(),
        _ => None,
    }
}

pub(super) fn double(value: &Value) -> Result<Value, String> {
    let number = match value {
        Value::Number(number) => number.as_f64(),
        Value::String(text) => text.parse().ok().filter(|number: &f64| number.is_finite()),
        _ => None,
    };
    let number = number.ok_or_else(|| format!("must be a number, not {}", found(value)))?;
    // Whole numbers without a fraction, as proto3 JSON writes them.
    if number.fract() == 0.0 && number.abs() <= EXACT {
        return Ok(Value::from(number as i64));
    }
    Ok(Value::from(number))
}

pub(super) fn enumeration(names: &[&str], value: &Value) -> Result<Value, String> {
    let name = match value {
        Value::String(name) => names.iter().find(|known| *known == name),
        Value::Number(number) => {
            number.as_u64().and_then(|at| names.get(usize::try_from(at).ok()?))
        }
        _ => None,
    };
    let name =
        name.ok_or_else(|| format!("must be one of {}, not {}", names.join(", "), shown(value)));
    Ok(Value::from(*name?))
}

/// Seconds with up to nine decimals and an `s`; written with 0, 3, 6 or 9 of them.
pub(super) fn duration(value: &Value) -> Result<Value, String> {
    let read = || {
        let text = value.as_str()?.strip_suffix('s')?;
        let (sign, text) = text.strip_prefix('-').map_or(("", text), |text| ("-", text));
        let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
        let digits = |part: &str| part.bytes().all(|c| c.is_ascii_digit());
        let whole: u64 = seconds.parse().ok().filter(|_| digits(seconds))?;
        // 10,000 years: the bound of google.protobuf.Duration.
        if whole > 315_576_000_000 || fraction.len() > 9 || !digits(fraction) {
            return None;
        }
        let fraction = fraction.trim_end_matches('0');
        let width = fraction.len().div_ceil(3) * 3;
        let sign = if whole == 0 && width == 0 { "" } else { sign };
        let point = if width == 0 { "" } else { "." };
        Some(format!("{sign}{whole}{point}{fraction:0<width$}s"))
    };
    let reason = || {
        format!("must be a duration in seconds such as \"10s\" or \"0.250s\", not {}", shown(value))
    };
    read().map(Value::from).ok_or_else(reason)
}

/// RFC 3339, written in UTC.
pub(super) fn timestamp(value: &Value) -> Result<Value, String> {
    let reason =
        || format!("must be a time such as \"2026-01-31T12:00:00Z\", not {}", shown(value));
    let text = value.as_str().ok_or_else(reason)?;
    let time = OffsetDateTime::parse(text, &Rfc3339).map_err(|_| reason())?;
    let time = time.to_offset(time::UtcOffset::UTC);
    Ok(Value::from(time.format(&Rfc3339).map_err(|_| reason())?))
}
