//! When to ask again, and when to say so.

use std::time::Duration;

use tokio::time::Instant;

/// After a first failure; a control plane that restarts is back within a second.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// The longest pause: a zone of 4,000 proxies then makes some 1,000 calls a second at most.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// Between questions whether the mesh is known now; the answer is cheap.
const MESH_PAUSE: Duration = Duration::from_secs(2);
/// Between log lines that say again what is waited for.
const REPEAT: Duration = Duration::from_secs(10);

/// How long to pause.
#[derive(Debug, Default)]
pub(super) struct Pace {
    failures: u32,
}

impl Pace {
    /// No replica could answer: 200 ms, doubled to at most 5 s, less up to a half by chance, so
    /// that the proxies of a zone do not come back all at once.
    pub(super) fn failed(&mut self) -> Duration {
        let doubled = FIRST_PAUSE.saturating_mul(1 << self.failures.min(16));
        self.failures = self.failures.saturating_add(1);
        shortened(doubled.min(LONGEST_PAUSE), chance())
    }

    /// The control plane answers, and what it waits for takes as long as it takes.
    pub(super) fn waiting(&mut self) -> Duration {
        self.failures = 0;
        shortened(MESH_PAUSE, chance())
    }
}

/// `chance` of 0 keeps the pause, 255 halves it.
fn shortened(pause: Duration, chance: u8) -> Duration {
    pause.mul_f64(1.0 - f64::from(chance) / 510.0)
}

fn chance() -> u8 {
    let mut byte = [0];
    // Without randomness there is no jitter, which costs smoothness and nothing else.
    match getrandom::fill(&mut byte) {
        Ok(()) => byte[0],
        Err(_) => 0,
    }
}

/// Which reasons for waiting were said already.
#[derive(Debug, Default)]
pub(super) struct Reasons {
    last: Option<(String, Instant)>,
}

impl Reasons {
    /// Whether `reason` is worth a log line: when it is new, and, if it `repeats`, every 10 s.
    pub(super) fn worth_a_line(&mut self, reason: &str, repeats: bool, now: Instant) -> bool {
        let said = self.last.as_ref().is_some_and(|(last, at)| {
            last == reason && !(repeats && now.duration_since(*at) >= REPEAT)
        });
        if !said {
            self.last = Some((reason.to_owned(), now));
        }
        !said
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_grow_to_a_bound_and_vary() {
        assert_eq!(shortened(LONGEST_PAUSE, 0), LONGEST_PAUSE);
        assert_eq!(shortened(LONGEST_PAUSE, 255), LONGEST_PAUSE / 2);
        let mut pace = Pace::default();
        let pauses: Vec<_> = (0..40).map(|_| pace.failed()).collect();
        assert!(pauses[0] <= FIRST_PAUSE, "{pauses:?}");
        assert!(pauses[39] >= LONGEST_PAUSE / 2 && pauses[39] <= LONGEST_PAUSE, "{pauses:?}");
        assert!(pauses[8..].iter().any(|pause| *pause != pauses[39]), "{pauses:?}");
        pace.waiting();
        assert!(pace.failed() <= FIRST_PAUSE);
    }

    #[test]
    fn a_reason_is_said_once_and_a_wait_every_ten_seconds() {
        let mut reasons = Reasons::default();
        let start = Instant::now();
        let at = |seconds| start + Duration::from_secs(seconds);
        assert!(reasons.worth_a_line("refused", false, at(0)));
        assert!(!reasons.worth_a_line("refused", false, at(3_600)));
        assert!(reasons.worth_a_line("no route", false, at(3_601)));
        assert!(reasons.worth_a_line("Mesh not found", true, at(4_000)));
        assert!(!reasons.worth_a_line("Mesh not found", true, at(4_009)));
        assert!(reasons.worth_a_line("Mesh not found", true, at(4_010)));
        assert!(!reasons.worth_a_line("Mesh not found", true, at(4_019)));
    }
}
