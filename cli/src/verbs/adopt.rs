//! `higuma zone adopt`: what would change in a zone if it followed the global that it refuses; and
//! to let it.

use std::io::{IsTerminal as _, stdin};

use reqwest::StatusCode;
use serde_json::Value;

use super::Session;
use crate::args::{AdoptArgs, Connection};
use crate::client::{CallError, Client, Request, address};
use crate::failure::Failure;
use crate::output::{self, Format, note, print, table};

pub(crate) async fn adopt(args: &AdoptArgs) -> Result<(), Failure> {
    let client = Session::open(&args.connection)?.client;
    belongs_to(&client, &args.name).await?;
    let shown = client.send(&Request::get(&["_kds", "difference"])).await?.body;
    if args.output == Format::Table {
        print(difference(&shown))?;
    }
    let fenced = shown["state"] == "Fenced";
    let differs = fenced
        || total(&shown, "added") + total(&shown, "changed") > 0
        || total(&shown, "removed") > 0;
    let adopts = differs && !args.dry_run && confirmed(args)?;
    let mut result = shown.clone();
    if adopts {
        let request = Request::post(&["_kds", "adopt"], shown["offered"].clone());
        result["adopted"] = client.send(&request).await?.body["adopted"].clone();
    }
    match args.output {
        Format::Table if adopts => {
            print(format!("zone {} follows {}", args.name, stand(&shown["offered"])))
        }
        Format::Table if !differs => {
            print(format!("zone {} follows this global and has what it has", args.name))
        }
        Format::Table => print("nothing was changed"),
        format => print(output::value(&result, format)?),
    }
}

/// Makes sure that the server is this zone's own: the difference of another one would mislead.
async fn belongs_to(client: &Client, name: &str) -> Result<(), Failure> {
    let servers: Vec<String> = client.servers().iter().map(address::shown).collect();
    let wrong = |who: &str| {
        Failure::refused(format!(
            "{} is {who}, not the control plane of zone {name}.\nGive the zone's own REST, which \
             listens on its host's loopback: `higuma zone adopt {name} --server 127.0.0.1:5681` \
             there.",
            servers.join(", ")
        ))
    };
    match client.send(&Request::get(&["_kds"])).await {
        Ok(answer) => match answer.body["zone"].as_str() {
            Some(zone) if zone == name => Ok(()),
            Some(zone) => Err(wrong(&format!("the control plane of zone {zone}"))),
            None => Err(wrong("something else")),
        },
        Err(CallError::Refused(refused)) if refused.status == StatusCode::NOT_FOUND => {
            Err(wrong("a global control plane, or one that follows no global"))
        }
        Err(error) => Err(error.into()),
    }
}

/// Asks whoever sits at the terminal.
fn confirmed(args: &AdoptArgs) -> Result<bool, Failure> {
    if args.yes {
        return Ok(true);
    }
    let Connection { server, .. } = &args.connection;
    if !stdin().is_terminal() {
        let server = match server.is_empty() {
            true => String::new(),
            false => format!(" --server {}", server.join(",")),
        };
        return Err(Failure::refused(format!(
            "nothing was changed: there is no terminal to ask. Look at the difference above or with \
             --dry-run; then `higuma zone adopt {}{server} --yes`",
            args.name
        )));
    }
    note(format!("Let zone {} follow this? [y/N]", args.name));
    let mut answer = String::new();
    stdin().read_line(&mut answer).map_err(|error| Failure::refused(error.to_string()))?;
    Ok(matches!(answer.trim(), "y" | "Y" | "yes"))
}

fn total(shown: &Value, list: &str) -> u64 {
    shown.pointer(&format!("/difference/{list}/total")).and_then(Value::as_u64).unwrap_or(0)
}

/// `cluster ab12…, epoch cd34…, version 12`.
fn stand(stand: &Value) -> String {
    let text = |name: &str| stand[name].as_str().unwrap_or("-").to_owned();
    let (cluster, epoch) = (text("cluster"), text("epoch"));
    format!("cluster {cluster}, epoch {epoch}, version {}", stand["version"])
}

/// What an operator reads before he decides.
fn difference(shown: &Value) -> String {
    let zone = shown["zone"].as_str().unwrap_or("-");
    let mut lines = Vec::new();
    if let Some(reason) = shown["reason"].as_str() {
        lines.push(format!("Zone {zone} does not follow its global: {reason}"));
        lines.push(String::new());
    }
    lines.push(format!("  the zone has   {}", stand(&shown["followed"])));
    lines.push(format!("  the global is  {}", stand(&shown["offered"])));
    lines.push(String::new());
    let mut rows = Vec::new();
    for (list, sign) in [
        ("added", "+ added"),
        ("changed", "~ changed"),
        ("removed", "- removed"),
        ("kept", "= kept"),
        ("refused", "! refused"),
    ] {
        let items = shown.pointer(&format!("/difference/{list}/items")).and_then(Value::as_array);
        let items = items.map_or(&[][..], Vec::as_slice);
        rows.extend(items.iter().map(|item| row(sign, item)));
        let more = total(shown, list).saturating_sub(items.len() as u64);
        if more > 0 {
            rows.push(vec![sign.to_owned(), format!("and {more} more")]);
        }
    }
    if rows.is_empty() {
        lines.push("  Nothing would change but the history that is followed.".to_owned());
    } else {
        lines.push(table(&["IN THE ZONE", "TYPE", "MESH", "NAME", ""], &rows));
    }
    lines.push(String::new());
    lines.join("\n")
}

fn row(sign: &str, item: &Value) -> Vec<String> {
    let text = |name: &str| item[name].as_str().filter(|text| !text.is_empty());
    let cell = |name: &str| text(name).unwrap_or("-").to_owned();
    let remark = match (text("zone"), text("reason")) {
        (Some(zone), _) => format!("of zone {zone}"),
        (None, Some(reason)) => reason.to_owned(),
        (None, None) => String::new(),
    };
    vec![sign.to_owned(), cell("type"), cell("mesh"), cell("name"), remark]
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_difference_names_what_comes_what_goes_and_what_stays() {
        let item = |name: &str, zone: Option<&str>| json!({"type": "TrafficRoute", "mesh": "default", "name": name, "zone": zone});
        let shown = json!({
            "zone": "east", "state": "Fenced", "reason": "it was rolled back",
            "followed": {"cluster": "ab", "epoch": "01", "version": 12},
            "offered": {"cluster": "ab", "epoch": "01", "version": 7},
            "difference": {
                "added": {"total": 0, "items": []},
                "changed": {"total": 3, "items": [item("a", None)]},
                "removed": {"total": 1, "items": [item("b", None)]},
                "kept": {"total": 1, "items": [item("c", Some("west"))]},
                "refused": {"total": 0, "items": []},
            },
        });
        let text = difference(&shown);
        for line in [
            "Zone east does not follow its global: it was rolled back",
            "the zone has   cluster ab, epoch 01, version 12",
            "the global is  cluster ab, epoch 01, version 7",
            "~ changed     TrafficRoute   default   a",
            "~ changed     and 2 more",
            "- removed     TrafficRoute   default   b",
            "= kept        TrafficRoute   default   c      of zone west",
        ] {
            assert!(text.contains(line), "{line:?} is not in\n{text}");
        }
    }
}
