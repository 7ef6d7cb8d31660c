//! The few things this process asks of its Envoy's admin interface.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::Client;
use serde::Deserialize;

use crate::call::{self, reason};

/// The admin interface is on this host and answers from Envoy's main thread, which may be busy
/// with a large configuration for a second or two.
const CALL_TIMEOUT: Duration = Duration::from_secs(5);
/// `/ready` answers a word, `/stats` two numbers.
const MAX_ANSWER_BYTES: usize = 64 << 10;
const LISTENER_STATS: &str = "/stats?format=json&filter=^listener_manager\\.(lds\\.update_(success|rejected)|workers_started)$";

const REFUSED: &str = "it refuses listeners, for example because another process has a port of the \
                       Dataplane: its log and `higuma inspect dataplanes` name it";

/// Envoy's admin interface.
#[derive(Clone, Debug)]
pub struct Admin {
    address: SocketAddr,
    client: Client,
}

impl Admin {
    /// The interface at `address`.
    ///
    /// # Errors
    /// An HTTP client could not be made, for lack of some resource of the process.
    pub fn new(address: SocketAddr) -> Result<Self, String> {
        Ok(Self { address, client: call::client(Vec::new(), CALL_TIMEOUT)? })
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether Envoy serves: it is LIVE, its workers run and, if `from_control_plane`, its
    /// listeners were given to it at least once (it also calls itself LIVE when it gave up
    /// waiting for them).
    ///
    /// # Errors
    /// What it waits for.
    pub async fn ready(&self, from_control_plane: bool) -> Result<(), String> {
        let answer = self.client.get(self.url("/ready")).send().await;
        let answer = answer.map_err(|e| format!("its admin interface: {}", reason(&e)))?;
        let live = answer.status().is_success();
        let state = call::body(answer, MAX_ANSWER_BYTES).await?;
        if !live {
            return Err(format!("it is {}", String::from_utf8_lossy(&state).trim()));
        }
        let answer = self.client.get(self.url(LISTENER_STATS)).send().await;
        let answer = answer.map_err(|error| reason(&error))?;
        let body = call::body(answer, MAX_ANSWER_BYTES).await?;
        let stats: Stats = serde_json::from_slice(&body).map_err(|e| format!("its stats: {e}"))?;
        stats.listeners(from_control_plane)
    }

    /// Fails health checks by others from now on.
    ///
    /// # Errors
    /// Envoy did not take it.
    pub async fn fail_healthchecks(&self) -> Result<(), String> {
        self.post("/healthcheck/fail").await
    }

    /// Tells connections to end and closes the listeners after the drain time.
    ///
    /// # Errors
    /// Envoy did not take it.
    pub async fn drain_listeners(&self) -> Result<(), String> {
        self.post("/drain_listeners?graceful").await
    }

    async fn post(&self, path: &str) -> Result<(), String> {
        let answer = self.client.post(self.url(path)).send().await;
        let status = answer.map_err(|error| reason(&error))?.status();
        if status.is_success() { Ok(()) } else { Err(format!("Envoy answered {status}")) }
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }
}

#[derive(Deserialize)]
struct Stats {
    stats: Vec<Stat>,
}

#[derive(Deserialize)]
struct Stat {
    name: String,
    value: u64,
}

impl Stats {
    fn listeners(&self, from_control_plane: bool) -> Result<(), String> {
        let value = |name: &str| {
            let stat = self.stats.iter().find(|stat| stat.name == name);
            stat.map_or(0, |stat| stat.value)
        };
        if value("listener_manager.workers_started") == 0 {
            return Err("its workers have not started".to_owned());
        }
        if from_control_plane && value("listener_manager.lds.update_success") == 0 {
            if value("listener_manager.lds.update_rejected") > 0 {
                return Err(REFUSED.to_owned());
            }
            return Err("it has no listeners from the control plane yet".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn live_without_listeners_is_not_ready() {
        let stats = |json: &str| serde_json::from_str::<Stats>(json).expect("stats");
        let none = stats(r#"{"stats":[]}"#);
        assert_eq!(none.listeners(false), Err("its workers have not started".to_owned()));
        let workers = r#"{"name":"listener_manager.workers_started","value":1}"#;
        let started = stats(&format!(r#"{{"stats":[{workers}]}}"#));
        assert_eq!(started.listeners(false), Ok(()));
        let reason = "it has no listeners from the control plane yet";
        assert_eq!(started.listeners(true), Err(reason.to_owned()));
        let lds = r#"{"name":"listener_manager.lds.update_success","value":1}"#;
        assert_eq!(stats(&format!(r#"{{"stats":[{workers},{lds}]}}"#)).listeners(true), Ok(()));
        let refused = r#"{"name":"listener_manager.lds.update_rejected","value":2}"#;
        let given = stats(&format!(r#"{{"stats":[{workers},{refused}]}}"#)).listeners(true);
        assert_eq!(given, Err(REFUSED.to_owned()));
        let later = stats(&format!(r#"{{"stats":[{workers},{lds},{refused}]}}"#)).listeners(true);
        assert_eq!(later, Ok(()), "an earlier configuration is in force");
    }
}
