//! Signals reach a whole process, so this test has one of its own.

use std::process::Command;
use std::time::Duration;

use higuma_serve::Tasks;
use tokio::signal::unix::{SignalKind, signal};

#[tokio::test]
async fn sigterm_stops_in_order() {
    // Installs the handler before the signal is sent: it could end the process otherwise.
    let _handler = signal(SignalKind::terminate()).expect("listen");
    let mut tasks = Tasks::new();
    let stop = tasks.token();
    tasks.spawn("signal", async move {
        let pid = std::process::id().to_string();
        let status = Command::new("kill").args(["-TERM", &pid]).status()?;
        anyhow::ensure!(status.success(), "kill failed");
        stop.cancelled().await;
        Ok(())
    });
    tasks.run_until_signal(Duration::from_secs(10)).await.expect("an orderly stop");
}
