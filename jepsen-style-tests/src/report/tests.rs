use serde_json::{Value, json};

use super::data::Natural;
use super::*;
use crate::history::{Operation, Outcome};
use crate::nemesis::Fault;
use crate::run::{FaultEvent, Folder, RunRecord};
use crate::verdict::{Finding, Verdict};

/// What must never reach a page as it is.
const HOSTILE: &str = "</pre><script>alert('x' & \"y\")</script>\u{0}\u{1b}[31m";

fn record() -> RunRecord {
    RunRecord {
        id: "a7".into(),
        test: "register".into(),
        nemesis: "mixed".into(),
        database: format!("processes {HOSTILE}"),
        seed: 42,
        seconds: 10,
        mutant: None,
        version: "higuma 0.1.0".into(),
        started_at: "2026-11-25T13:00:00Z".into(),
        replay: "make chaos TEST=register SEED=42".into(),
        ended: Some(12_000_000),
        healed: Some(10_000_000),
        harness_failures: Vec::new(),
    }
}

fn operation(id: u64, start: u64, outcome: Outcome) -> Operation {
    Operation {
        id,
        client: format!("client-{}", id % 3),
        node: "global-1".into(),
        class: "write".into(),
        start,
        end: start + 5_000,
        call: json!({"is": "write", "key": "a", "value": id}),
        outcome,
    }
}

fn done() -> Outcome {
    Outcome::Done { answer: Value::Null }
}

fn fault(failure: Option<&str>) -> FaultEvent {
    FaultEvent {
        fault: Fault::Kill { nodes: vec!["global-1".into(), "global-2".into()] },
        installing: 2_000_000,
        installed: failure.is_none().then_some(2_100_000),
        healing: Some(4_000_000),
        healed: Some(4_500_000),
        failure: failure.map(str::to_owned),
        refusal: None,
    }
}

fn verdict(finding: Finding) -> Verdict {
    let figures = vec![("keys".into(), "5".into())];
    Verdict { checker: "linearizable".into(), finding, figures }
}

/// A run's folder, written as a run writes it.
struct Made {
    folder: tempfile::TempDir,
}

impl Made {
    fn new(operations: &[Operation], faults: &[FaultEvent], verdicts: &[Verdict]) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let made = Self { folder };
        let run = Folder::open(made.folder.path());
        run.write_record(&record()).unwrap();
        run.write_faults(faults).unwrap();
        run.write_verdicts(verdicts).unwrap();
        let lines: String = operations.iter().map(|o| json!(o).to_string() + "\n").collect();
        std::fs::write(run.history(), lines).unwrap();
        std::fs::create_dir(run.logs()).unwrap();
        made
    }

    fn render(&self) -> String {
        render(self.folder.path()).unwrap();
        let page = std::fs::read_to_string(self.folder.path().join("report.html")).unwrap();
        assert_well_formed(&page);
        page
    }
}

/// Every tag that is opened is closed in order: nothing of a run became a tag.
fn assert_well_formed(page: &str) {
    let (head, rest) = page.split_once("<style>").unwrap();
    let (_, rest) = rest.split_once("</style></head><body>").unwrap();
    let (body, tail) = rest.rsplit_once("<script>").unwrap();
    assert!(!head.contains("<script") && !body.contains("<script"), "a foreign script");
    assert_eq!(tail.split_once("</script>").unwrap().1, "</body></html>\n");
    let mut open = Vec::new();
    for part in body.split('<').skip(1) {
        let (tag, _) = part.split_once('>').expect("a tag ends");
        let name = tag.split([' ', '/']).find(|name| !name.is_empty()).unwrap();
        if tag.starts_with('/') {
            assert_eq!(open.pop(), Some(name), "before <{part}");
        } else if !tag.ends_with('/') && name != "input" {
            open.push(name);
        }
    }
    assert_eq!(open, [""; 0], "left open");
}

#[test]
fn a_violation_is_told_drawn_and_listed() {
    let operations: Vec<Operation> = (0..9).map(|id| operation(id, id * 900_000, done())).collect();
    let why = format!("7 was read after 8 {HOSTILE}");
    let violated = verdict(Finding::Violated { why, operations: vec![3, 5, 77] });
    let page = Made::new(&operations, &[fault(None)], &[violated]).render();
    for section in ["checkers", "timeline", "latency", "availability", "faults", "counts", "logs"] {
        assert!(page.contains(&format!("<section id=\"{section}\">")), "{section}");
    }
    assert!(page.contains("<p class=\"verdict\">Violated</p>"));
    assert!(page.contains("make chaos TEST=register SEED=42</code>"));
    assert!(
        page.contains(
            "7 was read after 8 &lt;/pre&gt;&lt;script&gt;alert(&#39;x&#39; &amp; &quot;"
        )
    );
    assert!(page.contains("#3 write key=a value=3 → done"), "drawn");
    assert!(page.contains("<td class=\"n\">5</td><td>client-2</td><td>global-1</td>"), "listed");
    assert!(page.contains("Named, but not in the history: #77."));
    assert_eq!(page.matches("class=\"named\" d=").count(), 2, "marked in the timeline");
    assert!(page.contains("kill global-1, global-2"));
    assert!(page.contains("9 operations drawn as 9 bars"));
}

#[test]
fn a_failure_of_the_harness_is_no_verdict() {
    let operations = [operation(0, 0, done())];
    let page =
        Made::new(&operations, &[fault(Some("no <loop> device"))], &[verdict(Finding::Held)])
            .render();
    assert!(page.contains("<p class=\"verdict\">Harness failed</p>"));
    assert!(page.contains("<li>kill global-1, global-2: no &lt;loop&gt; device</li>"));
    assert!(page.contains("failed: no &lt;loop&gt; device"), "in the table of faults");
    assert!(page.contains("says nothing about Higuma"));
}

#[test]
fn outcomes_are_counted_apart() {
    let refused = || Outcome::Refused { why: "412".into() };
    let unknown = || Outcome::Unknown { why: "reset".into() };
    let mut operations: Vec<Operation> =
        (0..6).map(|id| operation(id, id * 1_000, done())).collect();
    operations.extend((6..9).map(|id| operation(id, id * 1_000, refused())));
    operations.push(operation(9, 9_000, unknown()));
    let page = Made::new(&operations, &[], &[verdict(Finding::Held)]).render();
    assert!(page.contains("<p class=\"verdict\">Held</p>"));
    for figure in
        ["done\"><b>6</b> done", "refused\"><b>3</b> refused", "unknown\"><b>1</b> unknown"]
    {
        assert!(page.contains(figure), "{figure}");
    }
}

#[test]
fn a_run_that_broke_off_has_a_page_that_says_what_is_missing() {
    let made = Made::new(&[operation(0, 0, done())], &[], &[]);
    let run = Folder::open(made.folder.path());
    let mut history = std::fs::read(run.history()).unwrap();
    history.extend(b"{\"id\": 1, \"cli");
    std::fs::write(run.history(), history).unwrap();
    std::fs::remove_file(made.folder.path().join("verdicts.json")).unwrap();
    let page = made.render();
    assert!(page.contains("1 line of history.jsonl cannot be read; history.jsonl:2: "));
    assert!(page.contains("verdicts.json cannot be read"));
    assert!(page.contains("<p class=\"verdict\">Undecided</p>"));

    let nothing = tempfile::tempdir().unwrap();
    let error = format!("{:#}", render(nothing.path()).unwrap_err());
    assert!(error.contains("is not a run's folder: no run.json"), "{error}");
}

#[test]
fn logs_are_cut_at_a_line_and_said_to_be() {
    let made = Made::new(&[], &[], &[]);
    let logs = Folder::open(made.folder.path()).logs();
    let line = "2026-11-25T13:00:00Z  INFO higuma_store: a line\n";
    std::fs::write(logs.join("global-1.log"), line.repeat(20_000)).unwrap();
    std::fs::write(logs.join("east.log"), format!("t ERROR bad {HOSTILE}\nt\u{1b}[2m WARN x\n"))
        .unwrap();
    let page = made.render();
    assert!(page.contains("global-1 <small>937 KiB, the first 681 KiB are left out</small>"));
    assert!(page.contains("<pre><span>2026-11-25T13:00:00Z"), "cut at a line");
    assert!(page.contains("east <small>71 B, 1 error</small>"));
    assert!(page.contains("<span class=\"error\">t ERROR bad &lt;/pre&gt;"));
    assert!(page.contains("<span class=\"warn\">t WARN x"), "without a terminal's colours");
}

#[test]
fn lines_of_json_are_shown_as_a_terminal_shows_them() {
    let made = Made::new(&[], &[], &[]);
    let line = json!({
        "timestamp": "2026-11-25T13:00:00.5Z", "level": "WARN", "message": "no <leader>",
        "term": 3, "target": "higuma_store", "span": {"node": 1},
    });
    let logs = Folder::open(made.folder.path()).logs();
    std::fs::write(logs.join("east.log"), format!("{line}\n{{\"a\": 1}}\n")).unwrap();
    let page = made.render();
    let shown = "<span class=\"warn\">2026-11-25T13:00:00.5Z  WARN higuma_store: no &lt;leader&gt; \
                 term=3 span=(node=1)\n</span>";
    assert!(page.contains(shown));
    assert!(page.contains("<span>{&quot;a&quot;: 1}\n</span>"));
}

#[test]
fn a_long_history_is_drawn_together_and_said_to_be() {
    let operations: Vec<Operation> = (0..30_000)
        .map(|id| {
            operation(
                id,
                id * 390,
                if id == 15_000 { Outcome::Unknown { why: "reset".into() } } else { done() },
            )
        })
        .collect();
    let page = Made::new(&operations, &[fault(None)], &[verdict(Finding::Held)]).render();
    assert!(page.len() < 400_000, "{} bytes", page.len());
    assert!(
        page.contains("30\u{202f}000 operations drawn as 5 bars"),
        "the one that is unknown is seen"
    );
    assert!(page.contains("marks of 30\u{202f}000 operations"));
}

#[test]
fn faults_that_overlap_are_in_rows_of_their_own() {
    let at = |installing: u64, healed: u64| FaultEvent {
        installing,
        healed: Some(healed),
        ..fault(None)
    };
    // The label of each takes about 150 of 1000.
    let faults = [at(0, 300), at(100, 120), at(200, 260), at(300, 310), at(700, 750)];
    assert_eq!(timeline::fault_rows(&faults, 1000), [0, 1, 2, 0, 0]);
}

#[test]
fn names_are_in_the_order_in_which_people_count() {
    let mut names = ["client-10", "west", "client-2", "client-1", "east", ""];
    names.sort_by(|a, b| Natural(a).cmp(&Natural(b)));
    assert_eq!(names, ["", "client-1", "client-2", "client-10", "east", "west"]);
}

#[test]
fn calls_and_answers_are_short() {
    let cases = [
        (json!({"is": "write", "key": "a", "value": [1, null]}), "write key=a value=[1, –]"),
        (json!({"write": {"key": "a"}}), "write key=a"),
        (json!({"a": 1, "b": {"c": true}}), "a=1 b=(c=true)"),
        (json!("plain"), "plain"),
    ];
    for (value, expected) in cases {
        assert_eq!(markup::brief(&value), expected);
    }
}
