//! One real Envoy under supervision: started, ready, drained, stopped, reported, and gone with
//! whoever started it.

use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::Duration;

use crate::support::{
    self, LONG, STARTED, binary, role, start, static_bootstrap, wait_until_gone, wait_until_ready,
};
use higuma_testkit::{free_addr, poll_until};
use serde_json::json;

const DRAIN: Duration = Duration::from_secs(1);

#[tokio::test]
async fn it_starts_serves_drains_and_stops() {
    let (admin, listener) = (free_addr(), free_addr());
    let folder = tempfile::tempdir().expect("tempdir");
    let bootstrap = static_bootstrap(admin, listener);
    let mut envoy = start(&binary().await, &bootstrap, admin, Some(folder.path()), DRAIN);
    let pid = envoy.id();
    wait_until_ready(&envoy).await;
    assert!(envoy.admin().ready(true).await.is_err(), "no control plane gave it listeners");
    assert!(tokio::net::TcpStream::connect(listener).await.is_ok());
    let mode = |path: &std::path::Path| {
        use std::os::unix::fs::PermissionsExt as _;
        std::fs::metadata(path).expect("metadata").permissions().mode() & 0o777
    };
    let private = std::fs::read_dir(folder.path()).expect("folder").next().expect("one");
    let private = private.expect("entry").path();
    assert_eq!((mode(&private), mode(&private.join("bootstrap.json"))), (0o700, 0o600));

    let begun = std::time::Instant::now();
    envoy.drain(DRAIN).await;
    assert!(begun.elapsed() >= DRAIN, "it ended before its drain time");
    let closed = || async { tokio::net::TcpStream::connect(listener).await.is_err() };
    poll_until("a closed listener", LONG, closed, |closed| *closed).await.expect("closed");
    let status = envoy.stop().await.expect("stopped");
    assert!(status.success(), "{status}");
    wait_until_gone(pid).await;
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0, "files are left");
}

#[tokio::test]
async fn listeners_of_a_control_plane_are_waited_for() {
    let (admin, listener) = (free_addr(), free_addr());
    let folder = tempfile::tempdir().expect("tempdir");
    let file = folder.path().join("lds.json");
    let mut bootstrap = static_bootstrap(admin, listener);
    let fields = bootstrap.as_object_mut().expect("object");
    let mut resource = fields.remove("static_resources").expect("listeners")["listeners"][0].take();
    resource["@type"] = "type.googleapis.com/envoy.config.listener.v3.Listener".into();
    let lds = json!({"lds_config": {"path_config_source": {"path": file}, "initial_fetch_timeout": "0.1s"}});
    fields.insert("dynamic_resources".to_owned(), lds);
    // Not readable: Envoy goes on without listeners, as it does when nobody answers in time.
    std::fs::write(&file, "{").expect("write");
    let envoy = start(&binary().await, &bootstrap, admin, None, DRAIN);
    assert!(envoy.is_dynamic());
    let given = "it has no listeners from the control plane yet";
    let waits = || envoy.admin().ready(true);
    let wanted = Err(given.to_owned());
    let waits = poll_until("LIVE without listeners", LONG, waits, |ready| *ready == wanted).await;
    assert_eq!(waits, Ok(wanted));

    // Envoy watches for the file to be moved into place.
    let next = folder.path().join("next.json");
    std::fs::write(&next, json!({"resources": [resource]}).to_string()).expect("write");
    std::fs::rename(&next, &file).expect("rename");
    wait_until_ready(&envoy).await;
    assert!(tokio::net::TcpStream::connect(listener).await.is_ok());
}

#[tokio::test]
async fn an_unexpected_end_is_reported_with_the_last_lines() {
    let admin = free_addr();
    let mut bootstrap = static_bootstrap(admin, free_addr());
    bootstrap["static_resources"]["listeners"][0]["address"] = "nonsense".into();
    let mut envoy = start(&binary().await, &bootstrap, admin, None, DRAIN);
    let exit = tokio::time::timeout(LONG, envoy.exited()).await.expect("it ends").expect("status");
    let report = exit.to_string();
    assert!(report.starts_with("Envoy ended (exit status: 1); its last lines:\n"), "{report}");
    assert!(report.contains("address"), "{report}");
    // A second question has the same answer, and stopping what has ended is no error.
    assert_eq!(envoy.exited().await.expect("status"), exit);
    assert_eq!(envoy.stop().await.expect("status"), exit.status);
}

#[tokio::test]
async fn an_envoy_that_is_killed_is_reported() {
    let admin = free_addr();
    let bootstrap = static_bootstrap(admin, free_addr());
    let mut envoy = start(&binary().await, &bootstrap, admin, None, DRAIN);
    wait_until_ready(&envoy).await;
    support::signal(envoy.id(), "KILL");
    let exit = tokio::time::timeout(LONG, envoy.exited()).await.expect("it ends").expect("status");
    assert!(exit.to_string().starts_with("Envoy ended (signal: 9 (SIGKILL))"), "{exit}");
}

#[tokio::test]
async fn two_on_one_admin_address_do_not_both_run() {
    let admin = free_addr();
    let binary = binary().await;
    let first = start(&binary, &static_bootstrap(admin, free_addr()), admin, None, DRAIN);
    wait_until_ready(&first).await;
    let mut second = start(&binary, &static_bootstrap(admin, free_addr()), admin, None, DRAIN);
    let exit = tokio::time::timeout(LONG, second.exited()).await.expect("it ends").expect("status");
    assert!(!exit.status.success(), "{exit}");
    first.stop().await.expect("stopped");
}

#[tokio::test]
async fn dropping_it_ends_it() {
    let admin = free_addr();
    let bootstrap = static_bootstrap(admin, free_addr());
    let folder = tempfile::tempdir().expect("tempdir");
    let envoy = start(&binary().await, &bootstrap, admin, Some(folder.path()), DRAIN);
    let pid = envoy.id();
    drop(envoy);
    wait_until_gone(pid).await;
    assert_eq!(std::fs::read_dir(folder.path()).expect("folder").count(), 0, "files are left");
}

/// In a process of its own, for the test below; does nothing in an ordinary run.
#[tokio::test]
async fn parent_of_an_envoy() {
    let Some(words) = support::words() else { return };
    let admin = free_addr();
    let bootstrap = static_bootstrap(admin, free_addr());
    let folder = std::path::Path::new(&words[0]);
    let mut envoy = start(&binary().await, &bootstrap, admin, Some(folder), DRAIN);
    wait_until_ready(&envoy).await;
    println!("{STARTED}{}", envoy.id());
    envoy.exited().await.expect("status");
}

#[tokio::test]
async fn it_ends_with_its_parent_even_if_that_is_killed() {
    // Nobody removes the files of a process that is killed.
    let folder = tempfile::tempdir().expect("tempdir");
    let words = [folder.path().to_str().expect("UTF-8")];
    let mut parent = role("envoy::parent_of_an_envoy", &words);
    let mut parent = parent.stdout(Stdio::piped()).spawn().expect("spawn");
    let output = BufReader::new(parent.stdout.take().expect("piped"));
    let line = output.lines().map(|line| line.expect("text")).find(|line| line.contains(STARTED));
    let line = line.expect("the parent starts an Envoy");
    let (_, pid) = line.split_once(STARTED).expect("found above");
    let pid = pid.parse().expect("a process id");
    assert!(support::is_alive(pid));
    parent.kill().expect("kill");
    parent.wait().expect("wait");
    wait_until_gone(pid).await;
}
