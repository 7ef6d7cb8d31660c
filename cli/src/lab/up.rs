//! Bringing the lab up: certificates, processes in stages, and waiting until each is
//! ready or, where that takes a mesh, runs.

use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Child;
use std::time::Duration;

use tokio::time::Instant;

use super::topology::{Layout, Plan, plans, subjects};
use super::{certificates, down, process, record::Record};
use crate::failure::{Exit, Failure};
use crate::output::{note, print};

/// From the start of a process to its readiness. An election takes one second, a store of 1 GiB
/// some ten to read.
const READY: Duration = Duration::from_secs(30);
/// Between two looks at a process that is starting.
const LOOK: Duration = Duration::from_millis(50);
/// Lines of a log that are shown when its process fails.
const TAIL: usize = 20;

/// Starts everything, or nothing.
pub(super) async fn up(layout: Layout) -> Result<(), Failure> {
    let mut record = prepare(&layout)?;
    let raised = tokio::select! {
        raised = raise(&layout, &mut record) => raised,
        name = interrupted() => Err(Failure::refused(format!("interrupted by {name}"))),
    };
    if let Err(failure) = raised {
        note("taking down what was started");
        down::stop(&record).await?;
        record.clear()?;
        if failure.exit != Exit::Closed {
            let logs = layout.logs();
            note(format!("its logs stay in {}; `higuma lab down` removes them", logs.display()));
        }
        return Err(failure);
    }
    if !layout.globals_only {
        print("the proxies run and wait until their mesh is there: apply a Mesh called default")?;
    }
    let servers = layout.servers().join(",");
    print(format!(
        "the lab is up; try:\n  export HIGUMA_SERVER={servers}\n  higuma inspect cluster\n\
         and end it with `higuma lab down`"
    ))
}

/// Starts those that do not run, in a lab that is up. All at once: a global is ready only when
/// most of them are there.
pub(super) async fn start(record: &mut Record, plans: &[Plan]) -> Result<(), Failure> {
    let dead: Vec<_> =
        plans.iter().filter(|plan| !record.alive().iter().any(|(n, _)| *n == plan.name)).collect();
    if dead.is_empty() {
        return Err(Failure::refused("running already; see `higuma lab status`"));
    }
    let layout = record.layout()?;
    for plan in &dead {
        check_ports(plan)?;
    }
    let begun = Instant::now();
    let mut children = Vec::new();
    for plan in dead {
        children.push((plan, spawn(&layout, record, plan)?));
    }
    for (plan, child) in children {
        probed(&layout, plan, child).await?;
        print(format!("{} is {} after {:.1?}", plan.name, state(plan), begun.elapsed()))?;
    }
    Ok(())
}

/// What is known of a process that answers its probe.
fn state(plan: &Plan) -> &'static str {
    if plan.role.waits_for_mesh() { "running" } else { "ready" }
}

/// The folder and the certificates; refuses to disturb a lab that is up, or another's files.
fn prepare(layout: &Layout) -> Result<Record, Failure> {
    let folder = layout.folder.display();
    let failed = |error: std::io::Error| Failure::refused(format!("cannot use {folder}: {error}"));
    let record = match Record::find(&layout.folder)? {
        Some(record) if !record.alive().is_empty() || !process::marked(&record.id).is_empty() => {
            return Err(Failure::refused(format!(
                "the lab in {folder} is up already; see `higuma lab status`, end it with \
                 `higuma lab down`"
            )));
        }
        Some(record) if record.layout()?.base != layout.base => {
            return Err(Failure::refused(format!(
                "the data in {folder} belongs to a lab with other addresses; use its --base, or \
                 remove it with `higuma lab down`"
            )));
        }
        Some(record) => record.resized(layout),
        None => {
            std::fs::create_dir_all(&layout.folder).map_err(failed)?;
            if std::fs::read_dir(&layout.folder).map_err(failed)?.next().is_some() {
                return Err(Failure::refused(format!(
                    "{folder} holds other files: give an empty or new folder as --dir"
                )));
            }
            Record::new(layout)?
        }
    };
    let plans = plans(layout);
    for plan in &plans {
        check_ports(plan)?;
    }
    // First, so that `lab down` knows the folder whatever happens next.
    record.save()?;
    for folder in layout.folders() {
        std::fs::create_dir_all(folder).map_err(failed)?;
    }
    for (path, text) in plans.iter().filter_map(|plan| plan.file.as_ref()) {
        std::fs::write(path, text).map_err(failed)?;
    }
    certify(layout)?;
    Ok(record)
}

/// Those of an earlier lab in this folder are kept.
fn certify(layout: &Layout) -> Result<(), Failure> {
    certificates::make(&layout.pki(), &subjects(layout)).map(|_| ())
}

/// A port that another program holds would show as that program's readiness, or as a puzzle.
fn check_ports(plan: &Plan) -> Result<(), Failure> {
    for port in &plan.ports {
        let addr = SocketAddr::new(plan.address, *port);
        if let Err(error) = TcpListener::bind(addr) {
            return Err(Failure::refused(format!(
                "{} cannot listen on {addr}: {error}; if another lab is up, give this one other \
                 addresses with --base 127.78",
                plan.name
            )));
        }
    }
    Ok(())
}

async fn raise(layout: &Layout, record: &mut Record) -> Result<(), Failure> {
    let mut plans = plans(layout);
    plans.retain(|plan| !plan.spare);
    let last = plans.iter().map(|plan| plan.stage).max().unwrap_or(0);
    for stage in 0..=last {
        let started = Instant::now();
        let mut children = Vec::new();
        for plan in plans.iter().filter(|plan| plan.stage == stage) {
            children.push((plan, spawn(layout, record, plan)?));
        }
        for (plan, child) in children {
            probed(layout, plan, child).await?;
            let (Plan { name, address, .. }, state) = (plan, state(plan));
            print(format!("{name:<14} {address:<12} {state} after {:.1?}", started.elapsed()))?;
        }
    }
    Ok(())
}

fn spawn(layout: &Layout, record: &mut Record, plan: &Plan) -> Result<Child, Failure> {
    let (started, child) = process::start(layout, &record.id, plan)?;
    record.add(&plan.name, started)?;
    Ok(child)
}

/// Waits until the process answers its probe; a failure shows the end of its log.
async fn probed(layout: &Layout, plan: &Plan, mut child: Child) -> Result<(), Failure> {
    let http = reqwest::Client::builder().no_proxy().timeout(Duration::from_secs(1)).build();
    let http = http.map_err(|error| Failure::refused(error.to_string()))?;
    let end = Instant::now() + READY;
    let why = loop {
        match child.try_wait() {
            Ok(None) => {}
            Ok(Some(status)) => break format!("it ended: {status}"),
            Err(error) => break format!("it cannot be watched: {error}"),
        }
        let last = match http.get(&plan.probe).send().await {
            Ok(answer) if answer.status().is_success() => return Ok(()),
            Ok(answer) => answer.text().await.unwrap_or_default(),
            Err(error) => crate::client::call::reason(&error),
        };
        if Instant::now() > end {
            break format!("not ready after {READY:?}: {last}");
        }
        tokio::time::sleep(LOOK).await;
    };
    let path = layout.log(&plan.name);
    let tail = tail(&path);
    Err(Failure::refused(format!(
        "{} did not start: {why}\nthe end of {}:\n{tail}",
        plan.name,
        path.display()
    )))
}

/// The last lines of a log, indented.
fn tail(path: &Path) -> String {
    let text = std::fs::read(path).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<_> = text.lines().collect();
    let from = lines.len().saturating_sub(TAIL);
    lines[from..].iter().map(|line| format!("  {line}\n")).collect()
}

async fn interrupted() -> &'static str {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut int), Ok(mut term)) =
        (signal(SignalKind::interrupt()), signal(SignalKind::terminate()))
    else {
        return std::future::pending().await;
    };
    tokio::select! {
        _ = int.recv() => "SIGINT",
        _ = term.recv() => "SIGTERM",
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::lab::topology::base;

    fn layout(folder: &Path) -> Layout {
        Layout { folder: folder.to_owned(), base: base("127.250").unwrap(), globals_only: false }
    }

    #[test]
    fn each_process_gets_a_certificate_and_a_key_of_its_own() {
        let folder = tempfile::tempdir().unwrap();
        let layout = layout(folder.path());
        std::fs::create_dir_all(layout.pki()).unwrap();
        certify(&layout).unwrap();
        let (certificate, key) = layout.certificate("global-3");
        let mode = std::fs::metadata(&key).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        let before = std::fs::read(&certificate).unwrap();
        certify(&layout).unwrap();
        assert_eq!(std::fs::read(&certificate).unwrap(), before);
        let left = std::fs::read_dir(layout.pki()).unwrap().count();
        assert_eq!(left, 1 + 2 * (3 + 2), "the CA's certificate, and no key of it");
    }

    #[test]
    fn a_port_in_use_is_named_with_what_to_do() {
        let address = higuma_testkit::loopback();
        let taken = TcpListener::bind((address, 0)).unwrap();
        let port = taken.local_addr().unwrap().port();
        let mut plan = plans(&layout(Path::new("/l"))).remove(0);
        (plan.address, plan.ports) = (address, vec![port]);
        let error = check_ports(&plan).unwrap_err().to_string();
        assert!(
            error.starts_with(&format!("global-1 cannot listen on {address}:{port}")),
            "{error}"
        );
        assert!(error.contains("--base 127.78"), "{error}");
    }

    #[test]
    fn folders_with_other_files_are_not_touched() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("x"), "x").unwrap();
        let error = prepare(&layout(folder.path())).unwrap_err().to_string();
        assert!(error.contains("holds other files"), "{error}");
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 1);
    }
}
