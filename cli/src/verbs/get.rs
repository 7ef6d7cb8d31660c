//! `higuma get`: resources, as tables or as documents that can be applied again.

use higuma_model::{Key, Kind, Scope, resource::labels};
use reqwest::{Method, StatusCode, Url};
use serde_json::{Value, json};
use time::OffsetDateTime;

use super::{Session, shown};
use crate::args::GetArgs;
use crate::client::{Answer, CallError, Client, Request};
use crate::failure::Failure;
use crate::output::{self, Format, print};

/// Resources of one page, and pages of one list: what is read at most is what fits on no screen.
const PAGE: usize = 1_000;
const MAX_PAGES: usize = 1_000;

pub(crate) async fn get(args: &GetArgs) -> Result<(), Failure> {
    let session = Session::open(&args.connection)?;
    let mesh = args.scope.mesh.as_deref().unwrap_or(&session.mesh);
    match &args.name {
        Some(name) => one(&session.client, args, mesh, name).await,
        None => {
            let mesh = (!args.scope.all_meshes).then_some(mesh);
            let mut request = Request::all(args.kind, mesh);
            if args.stale {
                request = request.query("consistency", "stale");
            }
            let items = list(&session.client, &request).await?;
            show_all(args.kind, items, args.output)
        }
    }
}

async fn one(client: &Client, args: &GetArgs, mesh: &str, name: &str) -> Result<(), Failure> {
    let mesh = if args.kind.scope() == Scope::Mesh { mesh } else { "" };
    let key = Key::new(args.kind, mesh, name);
    let mut request = Request::one(Method::GET, &key);
    if args.stale {
        request = request.query("consistency", "stale");
    }
    if let Some(at) = &args.at {
        request = request.query("at", &**at);
    }
    let answer = client.send(&request).await.map_err(|error| match error {
        CallError::Refused(why) if why.status == StatusCode::NOT_FOUND => {
            let detail =
                if why.detail == "Not found" { String::new() } else { format!(": {}", why.detail) };
            Failure::refused(format!("there is no {}{detail}", shown(&key)))
        }
        error => error.into(),
    })?;
    match args.output {
        Format::Table => {
            let version = answer.modified_at.map_or_else(|| "-".to_owned(), |v| v.to_string());
            let mut row = row(args.kind, &answer.body, OffsetDateTime::now_utc());
            row.push(version);
            let mut heading = heading(args.kind);
            heading.push("VERSION");
            print(output::table(&heading, &[row]))
        }
        format => print(output::value(&answer.body, format)?),
    }
}

/// All pages of a list.
pub(super) async fn list(client: &Client, request: &Request) -> Result<Vec<Value>, Failure> {
    pages(request, async |page| Ok(client.send(&page).await?)).await
}

/// As [`list`], at one server.
pub(super) async fn list_at(
    client: &Client,
    server: &Url,
    request: &Request,
) -> Result<Vec<Value>, Failure> {
    pages(request, async |page| client.ask(server, &page).await.map_err(Failure::refused)).await
}

async fn pages(
    request: &Request,
    fetch: impl AsyncFn(Request) -> Result<Answer, Failure>,
) -> Result<Vec<Value>, Failure> {
    let mut items: Vec<Value> = Vec::new();
    for _ in 0..MAX_PAGES {
        let page = request
            .clone()
            .query("size", PAGE.to_string())
            .query("offset", items.len().to_string());
        let mut answer = fetch(page).await?;
        let Some(Value::Array(found)) = answer.body.get_mut("items").map(Value::take) else {
            let what = request.shown();
            return Err(Failure::refused(format!("{what}: the answer is no list of resources")));
        };
        let last = found.is_empty() || answer.body.get("next").is_none_or(Value::is_null);
        items.extend(found);
        if last {
            return Ok(items);
        }
    }
    Err(Failure::refused(format!("there are more than {} resources", MAX_PAGES * PAGE)))
}

fn show_all(kind: Kind, items: Vec<Value>, format: Format) -> Result<(), Failure> {
    match format {
        Format::Table if items.is_empty() => {
            output::note(format!("there are no {}", kind.path()));
            Ok(())
        }
        Format::Table => {
            let now = OffsetDateTime::now_utc();
            let rows: Vec<_> = items.iter().map(|item| row(kind, item, now)).collect();
            print(output::table(&heading(kind), &rows))
        }
        Format::Json => {
            let total = items.len();
            print(output::value(&json!({"total": total, "items": items}), format)?)
        }
        Format::Yaml => print(documents(&items)?),
    }
}

/// Documents of one file, that `apply` takes.
pub(super) fn documents(items: &[Value]) -> Result<String, Failure> {
    let each: Result<Vec<_>, _> =
        items.iter().map(|item| output::value(item, Format::Yaml)).collect();
    Ok(each?.iter().map(|text| format!("---\n{}\n", text.trim_end())).collect())
}

fn heading(kind: Kind) -> Vec<&'static str> {
    let mut heading = match kind.scope() {
        Scope::Mesh => vec!["MESH", "NAME"],
        Scope::Global => vec!["NAME"],
    };
    if comes_from_zones(kind) {
        heading.push("ZONE");
    }
    heading.push("AGE");
    heading
}

fn row(kind: Kind, item: &Value, now: OffsetDateTime) -> Vec<String> {
    let text = |name: &str| item.get(name).and_then(Value::as_str).unwrap_or("-").to_owned();
    let mut row = Vec::new();
    if kind.scope() == Scope::Mesh {
        row.push(text("mesh"));
    }
    row.push(display_name(item));
    if comes_from_zones(kind) {
        row.push(zone(item));
    }
    row.push(output::age(&text("creationTime"), now));
    row
}

fn comes_from_zones(kind: Kind) -> bool {
    matches!(kind, Kind::Dataplane | Kind::DataplaneInsight | Kind::ZoneIngress)
}

/// The name that its owner gave it, not the hashed one of a synced copy.
pub(super) fn display_name(item: &Value) -> String {
    label(item, labels::DISPLAY_NAME)
        .or_else(|| item.get("name")?.as_str())
        .unwrap_or("-")
        .to_owned()
}

/// The zone that it comes from.
pub(super) fn zone(item: &Value) -> String {
    label(item, labels::ZONE).unwrap_or("-").to_owned()
}

fn label<'a>(item: &'a Value, name: &str) -> Option<&'a str> {
    item.get("labels")?.get(name)?.as_str()
}

#[cfg(test)]
mod tests {
    use time::macros::datetime;

    use super::*;

    #[test]
    fn tables_show_what_people_named() {
        let now = datetime!(2026-01-03 00:00:00 UTC);
        let item = json!({
            "type": "Dataplane", "mesh": "default", "name": "web-1-x7f8",
            "creationTime": "2026-01-02T23:59:50Z",
            "labels": {"kuma.io/display-name": "web-1", "kuma.io/zone": "east"},
        });
        assert_eq!(heading(Kind::Dataplane), ["MESH", "NAME", "ZONE", "AGE"]);
        assert_eq!(row(Kind::Dataplane, &item, now), ["default", "web-1", "east", "10s"]);
        let item = json!({"type": "Mesh", "name": "default"});
        assert_eq!(heading(Kind::Mesh), ["NAME", "AGE"]);
        assert_eq!(row(Kind::Mesh, &item, now), ["default", "-"]);
    }

    #[test]
    fn yaml_of_a_list_can_be_applied_again() {
        let text = documents(&[json!({"type": "Mesh", "name": "no"}), json!({"name": "b"})]);
        assert_eq!(text.unwrap(), "---\ntype: Mesh\nname: \"no\"\n---\nname: b\n");
    }
}
