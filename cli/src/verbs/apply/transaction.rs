//! Documents as one transaction: its bounds, what it would change, and what it did.

use higuma_model::{Key, Kind, MAX_OPERATIONS, MAX_TRANSACTION_BYTES};
use serde_json::{Value, json};

use super::{diff, explain, line, warn};
use crate::args::ApplyArgs;
use crate::client::{CallError, Refused, Request};
use crate::failure::{Exit, Failure};
use crate::manifest::Loaded;
use crate::verbs::Session;

/// Lines of one resource's difference that are shown; `-o yaml` shows all of it.
const MAX_DIFF_LINES: usize = 40;

/// Bytes around each document in a transaction: `{"put":…,"ifMatch":18446744073709551615},`.
const AROUND_BYTES: usize = 48;

/// Documents that fit one transaction.
pub(super) struct Batch<'a>(&'a [Loaded]);

/// What a transaction would change, as the server says.
pub(super) struct Preview(Value);

/// Cuts documents into transactions, in order, as few as the bounds allow.
pub(super) fn batches(documents: &[Loaded]) -> Vec<Batch<'_>> {
    let mut batches = Vec::new();
    let (mut from, mut bytes) = (0, 0);
    for (at, document) in documents.iter().enumerate() {
        let size = size(document);
        let full = at - from == MAX_OPERATIONS || bytes + size > MAX_TRANSACTION_BYTES;
        if full && at > from {
            batches.push(Batch(&documents[from..at]));
            (from, bytes) = (at, 0);
        }
        bytes += size;
    }
    batches.push(Batch(&documents[from..]));
    batches
}

/// Why they are no single transaction, and what to do.
pub(super) fn too_large(documents: &[Loaded]) -> String {
    let bytes: usize = documents.iter().map(size).sum();
    format!(
        "{} documents of {bytes} bytes are more than one transaction takes ({MAX_OPERATIONS} \
         documents, {MAX_TRANSACTION_BYTES} bytes). Nothing was sent.\n\
         Give --batch for several transactions in order, each of them whole, or --each for one \
         document after the other; or apply parts of it.",
        documents.len()
    )
}

fn size(document: &Loaded) -> usize {
    document.body.to_string().len() + AROUND_BYTES
}

impl Batch<'_> {
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    pub(super) async fn preview(
        &self,
        session: &Session,
        lenient: bool,
    ) -> Result<Preview, Failure> {
        let request = self.request(lenient, None).query("dry-run", "true");
        let answer = session.client.send(&request).await.map_err(|error| self.failure(error))?;
        self.warn(&answer.body);
        Ok(Preview(answer.body))
    }

    /// Applies it; only to what `agreed` shows, where somebody agreed to that.
    pub(super) async fn send(
        &self,
        session: &Session,
        args: &ApplyArgs,
        agreed: Option<&Preview>,
    ) -> Result<Value, Failure> {
        let (lenient, reason) = (args.lenient, args.why.reason.as_deref());
        let request = self.request(lenient, agreed).reason(reason.map(str::to_owned)).once()?;
        let sent = session.client.send(&request).await;
        let answer = sent.map_err(|error| self.failure(error))?;
        if agreed.is_none() {
            self.warn(&answer.body);
        }
        Ok(answer.body)
    }

    fn request(&self, lenient: bool, agreed: Option<&Preview>) -> Request {
        let seen = agreed.and_then(|preview| preview.0["operations"].as_array());
        let operation = |(at, document): (usize, &Loaded)| {
            let mut operation = json!({"put": document.body});
            match seen.and_then(|seen| seen.get(at)).map(|seen| &seen["modifiedAt"]) {
                None => {}
                Some(Value::Null) => operation["ifAbsent"] = true.into(),
                Some(version) => operation["ifMatch"] = version.clone(),
            }
            operation
        };
        let operations: Vec<Value> = self.0.iter().enumerate().map(operation).collect();
        let request = Request::post(&["_transactions"], json!({ "operations": operations }));
        if lenient { request } else { request.query("strict", "true") }
    }

    fn warn(&self, body: &Value) {
        let operations = body["operations"].as_array().into_iter().flatten();
        for (document, operation) in self.0.iter().zip(operations) {
            warn(document, operation.get("warnings"));
        }
    }

    /// A refusal with the lines that it is about.
    fn failure(&self, error: CallError) -> Failure {
        let CallError::Refused(why) = error else { return error.into() };
        let mut found: Vec<String> = Vec::new();
        for (field, reason) in &why.fields {
            match self.document(field) {
                Some((document, field)) => {
                    let fields = vec![(field.to_owned(), reason.clone())];
                    found.push(explain(document, &Refused { fields, ..why.clone() }));
                }
                None => found.push(format!("{field}: {reason}")),
            }
        }
        if found.is_empty() {
            return Failure::new(Exit::Refused, why.to_string());
        }
        Failure::new(Exit::Refused, format!("{}\n\nNothing was applied.", found.join("\n\n")))
    }

    /// The document of `operations[3].put.mtls.backends`, and its own field.
    fn document<'f>(&self, field: &'f str) -> Option<(&Loaded, &'f str)> {
        let (at, inner) = field.strip_prefix("operations[")?.split_once(']')?;
        let document = self.0.get(at.parse::<usize>().ok()?)?;
        let inner = inner.strip_prefix(".put").unwrap_or(inner);
        Some((document, inner.strip_prefix('.').unwrap_or(inner)))
    }
}

impl Preview {
    pub(super) fn body(&self) -> &Value {
        &self.0
    }

    /// What the server would answer to the transaction itself, where that changes nothing.
    pub(super) fn as_done(&self) -> Value {
        let mut done = self.0.clone();
        if let Value::Object(fields) = &mut done {
            ["dryRun", "alsoDeleted"].iter().for_each(|field| drop(fields.shift_remove(*field)));
        }
        done
    }

    /// How many resources would not be as they are.
    pub(super) fn changes(&self) -> usize {
        let operations = self.0["operations"].as_array().into_iter().flatten();
        operations.filter(|operation| operation["result"] != "unchanged").count()
    }

    /// What would become of each resource, and how it would differ.
    pub(super) fn lines(&self, mark: &str) -> String {
        let operations = self.0["operations"].as_array().into_iter().flatten();
        let mut lines = Vec::new();
        for operation in operations {
            lines.push(format!("{}{mark}", described(operation, None)));
            lines.extend(difference(operation));
        }
        lines.join("\n")
    }
}

/// What became of each resource; with how it differs, where that was not shown before.
pub(super) fn lines(done: &Value, preview: Option<&Preview>) -> String {
    let version = done["version"].as_u64();
    let seen = preview.and_then(|preview| preview.0["operations"].as_array());
    let mut lines = Vec::new();
    for (at, operation) in done["operations"].as_array().into_iter().flatten().enumerate() {
        lines.push(described(operation, version));
        // What somebody else changed meanwhile is another difference than what was asked about.
        let seen = seen.and_then(|seen| seen.get(at));
        lines.extend(
            seen.filter(|seen| seen["result"] == operation["result"])
                .map(difference)
                .into_iter()
                .flatten(),
        );
    }
    lines.join("\n")
}

fn described(operation: &Value, version: Option<u64>) -> String {
    let text = |name: &str| operation[name].as_str().unwrap_or_default();
    match text("type").parse::<Kind>() {
        Ok(kind) => line(text("result"), &Key::new(kind, text("mesh"), text("name")), version),
        Err(_) => format!("{} {} {}", text("result"), text("type"), text("name")),
    }
}

fn difference(operation: &Value) -> Vec<String> {
    let (before, after) = (&operation["before"], &operation["after"]);
    if operation["result"] != "updated" || !before.is_object() || !after.is_object() {
        return Vec::new();
    }
    let mut lines: Vec<String> =
        diff::between(before, after).into_iter().map(|line| format!("  {line}")).collect();
    if lines.len() > MAX_DIFF_LINES {
        let more = lines.len() - MAX_DIFF_LINES;
        lines.truncate(MAX_DIFF_LINES);
        lines.push(format!("  … and {more} more; --dry-run -o yaml shows all"));
    }
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::manifest::{Reading, tests::loaded};

    fn documents(count: usize, padding: usize) -> Vec<Loaded> {
        let one = |n| {
            let services = (0..padding / 1000)
                .map(|_| format!("- match: {{kuma.io/service: {}}}\n", "x".repeat(1000)))
                .collect::<String>();
            format!(
                "type: TrafficPermission\nname: p{n}\nmesh: default\nsources:\n\
                 - match: {{kuma.io/service: a}}\n{services}destinations:\n\
                 - match: {{kuma.io/service: b}}\n"
            )
        };
        let text: Vec<_> = (0..count).map(one).collect();
        let reading = Reading { mesh_flag: None, default_mesh: "default", strict: true };
        loaded(&text.join("---\n"), reading)
    }

    #[test]
    fn documents_are_cut_by_number_and_by_bytes() {
        for (count, padding, sizes) in [
            (1, 0, &[1][..]),
            (128, 0, &[128]),
            (129, 0, &[128, 1]),
            (300, 0, &[128, 128, 44]),
            (4, 700_000, &[2, 2]),
        ] {
            let documents = documents(count, padding);
            let cut: Vec<_> = batches(&documents).iter().map(Batch::len).collect();
            assert_eq!(cut, sizes, "{count} of {padding} bytes");
        }
        let text = too_large(&documents(129, 0));
        assert!(text.contains("129 documents") && text.contains("--batch"), "{text}");
    }

    #[test]
    fn a_refusal_is_shown_with_its_line() {
        let documents = documents(2, 0);
        let refused = Refused {
            status: reqwest::StatusCode::BAD_REQUEST,
            title: "Could not apply a transaction".to_owned(),
            detail: "…".to_owned(),
            fields: vec![
                ("operations[1].put.sources[0].match".to_owned(), "is wrong".to_owned()),
                ("operations[0].put".to_owned(), "mesh \"default\" is not found".to_owned()),
                ("body".to_owned(), "is odd".to_owned()),
            ],
            server: String::new(),
            repeated: false,
        };
        let text = Batch(&documents).failure(CallError::Refused(refused)).message;
        assert!(text.starts_with("m.yaml:13:3: sources[0].match: is wrong\n"), "{text}");
        assert!(text.contains("m.yaml:1:1: mesh \"default\" is not found"), "{text}");
        assert!(text.contains("body: is odd") && text.ends_with("Nothing was applied."), "{text}");
    }

    #[test]
    fn what_was_agreed_to_is_what_is_sent() {
        let documents = documents(2, 0);
        let preview = Preview(json!({"operations": [
            {"result": "updated", "type": "TrafficPermission", "mesh": "default", "name": "p0",
             "modifiedAt": 7, "before": {"a": 1}, "after": {"a": 2}},
            {"result": "created", "type": "TrafficPermission", "mesh": "default", "name": "p1",
             "modifiedAt": null},
        ]}));
        let body = Batch(&documents).request(false, Some(&preview)).body.unwrap();
        assert_eq!(
            (&body["operations"][0]["ifMatch"], &body["operations"][1]["ifAbsent"]),
            (&json!(7), &json!(true))
        );
        let body = Batch(&documents).request(false, None).body.unwrap();
        assert!(body["operations"][0].get("ifMatch").is_none());
        assert_eq!(preview.changes(), 2);
        assert_eq!(
            preview.lines(" (dry run)"),
            "updated TrafficPermission p0 in mesh default (dry run)\n  ~ a: 1 → 2\n\
             created TrafficPermission p1 in mesh default (dry run)"
        );
        let done = json!({"version": 9, "operations": [
            {"result": "updated", "type": "TrafficPermission", "mesh": "default", "name": "p0"},
        ]});
        assert_eq!(
            lines(&done, Some(&preview)),
            "updated TrafficPermission p0 in mesh default (version 9)\n  ~ a: 1 → 2"
        );
    }
}
