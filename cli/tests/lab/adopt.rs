//! The globals lose what they acknowledged: the zones refuse them, go on, and follow again when
//! their operator says so.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::thread;
use std::time::Duration;

use serde_json::Value;

use super::{Lab, text, until};

/// From a start of everything to traffic across zones; and of each step after it.
pub(super) const PATIENCE: Duration = Duration::from_secs(90);
pub(super) const GLOBALS: [&str; 3] = ["global-1", "global-2", "global-3"];
pub(super) const ZONES: [(&str, u8); 2] = [("east", 1), ("west", 2)];

pub(super) const MESH: &str = "\
type: Mesh
name: default
mtls:
  enabledBackend: ca-1
  backends:
  - name: ca-1
    type: builtin
";

pub(super) fn permission(name: &str) -> String {
    format!(
        "---\ntype: TrafficPermission\nmesh: default\nname: {name}\nsources:\n- match: \
         {{kuma.io/service: '*'}}\ndestinations:\n- match: {{kuma.io/service: '*'}}\n"
    )
}

/// The status and the body of a GET; 0 where there is no answer.
fn get(address: &str, path: &str) -> (u16, String) {
    let asked = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        write!(stream, "GET {path} HTTP/1.0\r\nHost: {address}\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        Ok(answer)
    };
    let answer = asked().unwrap_or_else(|error| error.to_string());
    let status = answer.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, answer.split_once("\r\n\r\n").map(|(_, body)| body.to_owned()).unwrap_or(answer))
}

/// Between two calls: the machine is small, and the calls are to show gaps, not load.
const PACE: Duration = Duration::from_millis(50);

/// Calls from web, in east, to billing, which is in west only; until dropped.
struct Traffic {
    stop: Option<mpsc::Sender<()>>,
    done: Arc<AtomicUsize>,
    calling: Option<thread::JoinHandle<Vec<String>>>,
}

impl Traffic {
    fn start(web: String) -> Self {
        let ((stop, stopped), done) = (mpsc::channel(), Arc::new(AtomicUsize::new(0)));
        let counted = done.clone();
        let calling = thread::spawn(move || {
            let mut failed = Vec::new();
            while stopped.recv_timeout(PACE) == Err(RecvTimeoutError::Timeout) {
                let (status, body) = get(&web, "/call/billing");
                if status != 200 || !body.contains("\"status\":200") {
                    failed.push(format!("{status} {body}"));
                }
                counted.fetch_add(1, Ordering::Relaxed);
            }
            failed
        });
        Self { stop: Some(stop), done, calling: Some(calling) }
    }

    /// Every request so far, and some more, had its answer.
    fn none_failed(mut self) -> usize {
        let before = self.done.load(Ordering::Relaxed);
        let more = || self.done.load(Ordering::Relaxed);
        until("more requests", PATIENCE, more, |done| *done > before + 5);
        self.stop = None;
        let failed = self.calling.take().expect("once").join().expect("no panic");
        assert_eq!(failed, Vec::<String>::new());
        self.done.load(Ordering::Relaxed)
    }
}

impl Lab {
    pub(super) fn rest(&self, number: u8) -> String {
        format!("127.{}.{number}.1:5681", self.base)
    }

    /// The names of the permissions that a control plane has, as their owner gave them.
    pub(super) fn permissions(&self, server: &str) -> Vec<String> {
        let (_, body) = get(server, "/meshes/default/traffic-permissions?consistency=stale");
        let body: Value = serde_json::from_str(&body).unwrap_or_default();
        let items = body["items"].as_array().cloned().unwrap_or_default();
        let name = |item: &Value| {
            let display = item["labels"]["kuma.io/display-name"].as_str();
            display.or_else(|| item["name"].as_str()).unwrap_or_default().to_owned()
        };
        let mut names: Vec<_> = items.iter().map(name).collect();
        names.sort();
        names
    }

    pub(super) fn zones_have(&self, names: &[&str]) {
        for (zone, number) in ZONES {
            let probe = || self.permissions(&self.rest(number));
            until(&format!("{zone}'s permissions"), PATIENCE, probe, |seen| seen == names);
        }
    }

    /// Both zones as the global shows them.
    pub(super) fn zones_are(&self, status: &str) -> Vec<Value> {
        let probe = || {
            let shown = self.run(&["inspect", "zones", "-o", "json"]).stdout;
            let shown: Value = serde_json::from_slice(&shown).unwrap_or_default();
            shown["items"].as_array().cloned().unwrap_or_default()
        };
        let all = |zones: &Vec<Value>| {
            zones.len() == 2 && zones.iter().all(|zone| zone["higuma"]["status"] == status)
        };
        until(&format!("zones that are {status}"), PATIENCE, probe, all)
    }

    /// Kills all globals, does something to their folders, and starts them again.
    pub(super) fn globals_down_and(&self, meanwhile: impl Fn(&Path)) {
        self.lab_ok(&[&["kill"][..], &GLOBALS].concat());
        GLOBALS.iter().for_each(|name| meanwhile(&self.folder.join("data").join(name)));
        self.lab_ok(&[&["start"][..], &GLOBALS].concat());
    }

    pub(super) fn adopt(&self, zone: (&str, u8), more: &[&str]) -> Output {
        let server = self.rest(zone.1);
        self.run(&[&["zone", "adopt", zone.0, "--server", &server], more].concat())
    }
}

fn copy(from: &Path, to: &Path) {
    let copied = Command::new("cp").arg("-a").arg(from).arg(to).status().expect("cp");
    assert!(copied.success(), "cp -a {} {}", from.display(), to.display());
}

fn aside(folder: &Path) -> std::path::PathBuf {
    folder.with_extension("earlier")
}

#[test]
fn zones_refuse_globals_that_were_rolled_back_and_follow_when_they_are_told_to() {
    let lab = Lab::new();
    let file = lab.folder.with_extension("yaml");
    lab.lab_ok(&["up", "--base", &format!("127.{}", lab.base)]);
    lab.apply(&file, &format!("{MESH}{}", permission("first")));
    let web = format!("127.{}.1.10:8080", lab.base);
    let across = || get(&web, "/call/billing");
    until("traffic across zones", PATIENCE, across, |(_, body)| body.contains("\"status\":200"));
    let traffic = Traffic::start(web);

    lab.globals_down_and(|folder| copy(folder, &aside(folder)));
    lab.apply(&file, &permission("second"));
    lab.ok(&["delete", "traffic-permission", "first"]);
    lab.zones_have(&["second"]);
    lab.globals_down_and(|folder| {
        std::fs::remove_dir_all(folder).expect("remove");
        std::fs::rename(aside(folder), folder).expect("rename");
    });

    for zone in lab.zones_are("Fenced") {
        let reason = zone["higuma"]["reason"].as_str().expect("a reason");
        assert!(reason.contains("higuma zone adopt"), "{zone}");
    }
    lab.zones_have(&["second"]);
    let (_, ready) = get(&format!("127.{}.1.1:5680", lab.base), "/ready");
    assert!(ready.contains("\"ready\":true") && ready.contains("fenced"), "{ready}");

    let refused = lab.adopt(ZONES[0], &[]);
    let (out, err) = (text(&refused.stdout), text(&refused.stderr));
    assert_eq!(refused.status.code(), Some(1), "{out}{err}");
    assert!(out.contains("- removed") && out.contains("second"), "{out}");
    assert!(err.contains("no terminal") && err.contains("--yes"), "{err}");
    let globals = lab.run(&["zone", "adopt", "east", "--yes"]);
    assert!(text(&globals.stderr).contains("a global control plane"), "{globals:?}");
    let other = lab.adopt(("west", 1), &["--yes"]);
    assert!(text(&other.stderr).contains("of zone east, not"), "{other:?}");
    lab.zones_have(&["second"]);

    for zone in ZONES {
        let adopted = lab.adopt(zone, &["--yes", "-o", "json"]);
        assert!(adopted.status.success(), "{adopted:?}");
        let shown: Value = serde_json::from_slice(&adopted.stdout).expect("JSON");
        assert_eq!(shown["adopted"], shown["offered"], "{shown}");
        assert_eq!(shown["difference"]["removed"]["items"][0]["name"], "second", "{shown}");
        assert_eq!(shown["difference"]["added"]["items"][0]["name"], "first", "{shown}");
    }
    lab.zones_have(&["first"]);
    lab.zones_are("Online");
    lab.apply(&file, &permission("third"));
    lab.zones_have(&["first", "third"]);
    let again = lab.adopt(ZONES[0], &[]);
    assert!(text(&again.stdout).contains("has what it has"), "{again:?}");
    traffic.none_failed();
    lab.lab_ok(&["down"]);
}
