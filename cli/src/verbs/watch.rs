//! `higuma watch`: changes as they happen.

use std::time::Duration;

use serde_json::Value;

use super::{Session, changes};
use crate::args::WatchArgs;
use crate::client::Request;
use crate::failure::{Exit, Failure};
use crate::output::{self, Format, note, print};

/// Before the next server is tried, after a connection broke.
const PAUSE: Duration = Duration::from_millis(500);
/// How long nothing may come: the server says at least that it lives every 10 s.
const SILENCE: Duration = Duration::from_secs(30);
/// Bytes of one event: a transaction of 1 MiB, with what it replaced, as JSON.
const MAX_EVENT: usize = 64 << 20;

pub(crate) async fn watch(args: &WatchArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    let mut from = args.from;
    if args.output == Format::Table {
        print(row(&changes::HEADING.map(str::to_owned)))?;
    }
    loop {
        let broke = once(&session, args, &mut from).await?;
        note(format!("warning: the watch broke off ({broke}); going on at another server"));
        tokio::time::sleep(PAUSE).await;
    }
}

/// Watches at one server until that breaks; says why it did.
async fn once(
    session: &Session,
    args: &WatchArgs,
    from: &mut Option<u64>,
) -> Result<String, Failure> {
    let mut request = Request::get(&["_watch"]);
    if let Some(from) = *from {
        request = request.query("from", from.to_string());
    }
    if let Some(kind) = args.kind {
        request = request.query("type", kind.name());
    }
    for (name, value) in [("name", &args.name), ("mesh", &args.mesh)] {
        if let Some(value) = value {
            request = request.query(name, &**value);
        }
    }
    let (mut stream, version) = session.client.open(&request).await?;
    // Where the watch began if none was asked for: a later server must begin there.
    *from = from.or(version);
    let mut text = Vec::new();
    loop {
        let chunk = match tokio::time::timeout(SILENCE, stream.chunk()).await {
            Ok(Ok(Some(chunk))) => chunk,
            Ok(Ok(None)) => return Ok("the server ended it".to_owned()),
            Ok(Err(error)) => return Ok(crate::client::call::reason(&error)),
            Err(_) => return Ok(format!("nothing came for {} s", SILENCE.as_secs())),
        };
        text.extend_from_slice(&chunk);
        while let Some(event) = take(&mut text) {
            if let Some(version) = tell(&event, args.output)? {
                *from = Some(version);
            }
        }
        if text.len() > MAX_EVENT {
            return Err(Failure::refused(format!("an event is over {MAX_EVENT} bytes")));
        }
    }
}

/// The first event that is there as a whole.
fn take(text: &mut Vec<u8>) -> Option<String> {
    let end = text.windows(2).position(|two| two == b"\n\n")?;
    let event = text.drain(..end + 2).collect();
    String::from_utf8(event).ok()
}

/// Shows an event; the version up to which all was told.
fn tell(event: &str, format: Format) -> Result<Option<u64>, Failure> {
    let field = |name: &str| event.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    let Some(data) = field("data:") else { return Ok(None) };
    let data: Value = serde_json::from_str(data)
        .map_err(|error| Failure::refused(format!("an event can't be read: {error}")))?;
    match field("event:") {
        Some("change") => match format {
            Format::Json => print(data.to_string())?,
            Format::Yaml => print(format!("---\n{}", output::value(&data, format)?))?,
            Format::Table => {
                for cells in changes::rows(&data) {
                    print(row(&cells))?;
                }
            }
        },
        Some("compacted") => {
            let compacted = &data["compacted"];
            return Err(Failure::new(
                Exit::Refused,
                format!(
                    "the watch fell behind what is kept: look at the state with `higuma get`, then \
                     `higuma watch --from {compacted}`"
                ),
            ));
        }
        _ => {}
    }
    Ok(data["version"].as_u64())
}

/// A row of a table whose other rows are not known yet.
fn row(cells: &[String]) -> String {
    const WIDTHS: [usize; 6] = [9, 26, 17, 26, 11, 44];
    let padded = cells.iter().enumerate().map(|(at, cell)| {
        let width = WIDTHS.get(at).copied().unwrap_or_default();
        format!("{cell:<width$}")
    });
    padded.collect::<Vec<_>>().join(" ").trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_are_taken_whole() {
        let mut text = b": heartbeat\n\nid: 7\nevent: progress\ndata: {\"version\":7}\n".to_vec();
        let beat = take(&mut text).unwrap();
        assert_eq!(tell(&beat, Format::Json).unwrap(), None);
        assert_eq!(take(&mut text), None);
        text.push(b'\n');
        let progress = take(&mut text).unwrap();
        assert_eq!(tell(&progress, Format::Json).unwrap(), Some(7));
        assert!(text.is_empty());
        let compacted = "event: compacted\ndata: {\"compacted\":30}\n\n";
        let failure = tell(compacted, Format::Table).unwrap_err();
        assert!(failure.message.contains("--from 30"), "{failure}");
    }
}
