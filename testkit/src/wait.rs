//! Waiting for a condition, with the last state in the failure.

use std::fmt::Debug;
use std::future::Future;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout_at};

/// Between two probes of something that cannot be watched: short beside a test, long beside a
/// call over loopback.
const PROBE_INTERVAL: Duration = Duration::from_millis(20);

/// Waits until `wanted` holds for the watched value, and returns that value.
///
/// # Errors
/// After `deadline`, or when the sender is gone: says `what` was waited for and the last value.
pub async fn wait_for<T, P>(
    watched: &mut watch::Receiver<T>,
    what: &str,
    deadline: Duration,
    mut wanted: P,
) -> Result<T, String>
where
    T: Clone + Debug,
    P: FnMut(&T) -> bool,
{
    let met = async { watched.wait_for(|value| wanted(value)).await.map(|value| value.clone()) };
    let ended = match tokio::time::timeout(deadline, met).await {
        Ok(Ok(value)) => return Ok(value),
        Ok(Err(_)) => "its sender is gone".to_owned(),
        Err(_) => format!("waited {deadline:?}"),
    };
    Err(format!("{what}: {ended}; last seen: {:?}", *watched.borrow()))
}

/// Calls `probe` until `wanted` holds for its answer, and returns that answer. For what cannot be
/// watched: another process, an HTTP answer, a file.
///
/// # Errors
/// After `deadline`: says `what` was waited for and the last answer. A probe that hangs is cut
/// there too.
pub async fn poll_until<T, F, Fut, P>(
    what: &str,
    deadline: Duration,
    mut probe: F,
    mut wanted: P,
) -> Result<T, String>
where
    T: Debug,
    F: FnMut() -> Fut,
    Fut: Future<Output = T>,
    P: FnMut(&T) -> bool,
{
    let end = Instant::now() + deadline;
    let mut last = None;
    loop {
        match timeout_at(end, probe()).await {
            Ok(answer) if wanted(&answer) => return Ok(answer),
            Ok(answer) => last = Some(answer),
            Err(_) => break,
        }
        if Instant::now() + PROBE_INTERVAL > end {
            break;
        }
        sleep(PROBE_INTERVAL).await;
    }
    let last = last.map_or_else(|| "nothing".to_owned(), |last| format!("{last:?}"));
    Err(format!("{what}: waited {deadline:?}; last seen: {last}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(60);
    const LONG: Duration = Duration::from_secs(10);

    #[tokio::test]
    async fn wait_for_returns_the_value_or_shows_the_last() {
        let (sender, mut watched) = watch::channel(1);
        let missed = wait_for(&mut watched, "three", SHORT, |n| *n == 3).await;
        assert_eq!(missed, Err("three: waited 60ms; last seen: 1".to_owned()));

        sender.send_replace(3);
        assert_eq!(wait_for(&mut watched, "three", LONG, |n| *n == 3).await, Ok(3));

        drop(sender);
        let gone = wait_for(&mut watched, "four", LONG, |n| *n == 4).await;
        assert_eq!(gone, Err("four: its sender is gone; last seen: 3".to_owned()));
    }

    #[tokio::test]
    async fn poll_until_returns_the_answer_or_shows_the_last() {
        let mut calls = 0;
        let probe = || {
            calls += 1;
            std::future::ready(calls)
        };
        assert_eq!(poll_until("three", LONG, probe, |n| *n == 3).await, Ok(3));

        let missed = poll_until("up", SHORT, || std::future::ready("down"), |s| *s == "up").await;
        assert_eq!(missed, Err("up: waited 60ms; last seen: \"down\"".to_owned()));

        let hung = poll_until("up", SHORT, std::future::pending::<u8>, |_| true).await;
        assert_eq!(hung, Err("up: waited 60ms; last seen: nothing".to_owned()));
    }
}
