//! Closed loops: each client has one call under way, and makes the next when it is answered.

use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use tokio::task::JoinSet;

use crate::client::Client;

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Asks {
    /// Another value of 256 bytes under one of [`KEYS`] keys, durable on a majority.
    Write,
    /// A linearizable read of one of them.
    Read,
}

/// Keys that are written and read, as many as a small mesh has resources.
pub(crate) const KEYS: u32 = 1000;

/// What clients saw.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Measured {
    pub(crate) per_second: f64,
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) calls: u64,
}

/// Writes every key once, so that all can be read.
///
/// # Errors
/// A write failed.
pub(crate) async fn fill<C: Client>(clients: Vec<C>) -> anyhow::Result<()> {
    let (mut tasks, step) = (JoinSet::new(), clients.len());
    for (first, mut client) in (0..KEYS).zip(clients) {
        tasks.spawn(async move {
            for key in (first..KEYS).step_by(step) {
                client.call(Asks::Write, key).await?;
            }
            anyhow::Ok(())
        });
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a client panicked")??;
    }
    Ok(())
}

/// Lets all clients call for `time`.
///
/// # Errors
/// A call failed: nothing is measured of a cluster that does not serve.
pub(crate) async fn measure<C: Client>(
    clients: Vec<C>,
    asks: Asks,
    time: Duration,
) -> anyhow::Result<Measured> {
    let began = Instant::now();
    let mut tasks = JoinSet::new();
    for (number, mut client) in (0..).zip(clients) {
        tasks.spawn(async move {
            let mut latencies = Vec::new();
            // Clients walk through the keys from different places.
            let mut key = number * 37;
            while began.elapsed() < time {
                key = (key + 1) % KEYS;
                let sent = Instant::now();
                client.call(asks, key).await?;
                latencies.push(sent.elapsed());
            }
            anyhow::Ok(latencies)
        });
    }
    let mut latencies: Vec<Duration> = Vec::new();
    while let Some(ended) = tasks.join_next().await {
        latencies.extend(ended.context("a client panicked")??);
    }
    let took = began.elapsed().as_secs_f64();
    latencies.sort_unstable();
    let Some(p50) = latencies.get(latencies.len() / 2) else { bail!("nothing was answered") };
    let calls = u32::try_from(latencies.len())?;
    Ok(Measured {
        per_second: f64::from(calls) / took,
        p50: *p50,
        p99: latencies[latencies.len() * 99 / 100],
        calls: calls.into(),
    })
}

/// The one in the middle, by its calls a second.
pub(crate) fn median(mut rounds: Vec<Measured>) -> Option<Measured> {
    rounds.sort_by(|a, b| a.per_second.total_cmp(&b.per_second));
    rounds.get(rounds.len() / 2).copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Answers every other scheduling, and no read.
    struct Fixed;

    impl Client for Fixed {
        async fn call(&mut self, asks: Asks, key: u32) -> anyhow::Result<()> {
            assert!(key < KEYS);
            tokio::task::yield_now().await;
            if asks == Asks::Read {
                bail!("no leader")
            }
            Ok(())
        }
    }

    #[tokio::test]
    async fn calls_are_counted_and_one_that_fails_ends_it() {
        let time = Duration::from_millis(100);
        let measured = measure(vec![Fixed, Fixed], Asks::Write, time).await.unwrap();
        assert!(measured.calls > 1 && measured.per_second > 10.0, "{measured:?}");
        assert!(measured.p99 >= measured.p50);
        let error = measure(vec![Fixed], Asks::Read, time).await.unwrap_err();
        assert_eq!(error.to_string(), "no leader");
    }

    /// Notes what is written.
    struct Notes(std::sync::mpsc::Sender<u32>);

    impl Client for Notes {
        async fn call(&mut self, _: Asks, key: u32) -> anyhow::Result<()> {
            Ok(self.0.send(key)?)
        }
    }

    #[tokio::test]
    async fn every_key_is_written_once() {
        let (notes, noted) = std::sync::mpsc::channel();
        fill((0..7).map(|_| Notes(notes.clone())).collect()).await.unwrap();
        drop(notes);
        let mut keys: Vec<u32> = noted.iter().collect();
        keys.sort_unstable();
        assert_eq!(keys, (0..KEYS).collect::<Vec<_>>());
    }

    #[test]
    fn the_median_is_one_of_the_rounds() {
        let round = |per_second| Measured {
            per_second,
            p50: Duration::ZERO,
            p99: Duration::ZERO,
            calls: 1,
        };
        let median = median(vec![round(3.0), round(1.0), round(2.0)]).unwrap();
        assert!((median.per_second - 2.0).abs() < f64::EPSILON);
    }
}
