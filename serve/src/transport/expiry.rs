//! Certificates that end: a metric for each file, and a reminder in the log.

use std::collections::BTreeMap;
use std::fmt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric as _};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Unit;
use rustls_pki_types::UnixTime;
use tokio::time::Instant;

use super::material::Material;
use super::reload::Current;
use super::{Transport, TransportPaths};

/// A certificate that ends sooner is said in the log. A CA takes longer to replace: both have to be
/// trusted everywhere first.
const REMIND_CERTIFICATE: i64 = 7 * DAY;
const REMIND_CA: i64 = 30 * DAY;
const DAY: i64 = 24 * 60 * 60;

/// Between two reminders of one file.
const BETWEEN: Duration = Duration::from_hours(24);

/// When each file was last reminded of, and how urgent it was.
#[derive(Default)]
pub(super) struct Reminders {
    ca: Option<(Instant, Urgency)>,
    cert: Option<(Instant, Urgency)>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Urgency {
    None,
    Soon,
    Ended,
}

fn urgency(left: i64, remind: i64) -> Urgency {
    match left {
        ..=0 => Urgency::Ended,
        left if left < remind => Urgency::Soon,
        _ => Urgency::None,
    }
}

/// Seconds until `end`, which is in Unix seconds.
fn left(end: i64) -> i64 {
    end.saturating_sub(i64::try_from(UnixTime::now().as_secs()).unwrap_or(i64::MAX))
}

impl Reminders {
    pub(super) fn remind(&mut self, paths: &TransportPaths, material: &Material) {
        let now = Instant::now();
        if !paths.is_server_only() {
            remind(&mut self.ca, &paths.ca, (left(material.ca_ends), REMIND_CA), now);
        }
        remind(&mut self.cert, &paths.cert, (left(material.cert_ends), REMIND_CERTIFICATE), now);
    }
}

/// `left` seconds, of which the last `from` are few.
fn remind(
    said: &mut Option<(Instant, Urgency)>,
    file: &Path,
    (left, from): (i64, i64),
    now: Instant,
) {
    let urgency = urgency(left, from);
    if said.is_some_and(|(at, before)| before == urgency && now < at + BETWEEN) {
        return;
    }
    let file = file.display();
    match urgency {
        Urgency::None => {}
        Urgency::Soon => tracing::warn!(
            %file,
            days = left / DAY,
            "a certificate ends soon: put a new one in its place, no restart is needed"
        ),
        Urgency::Ended => tracing::error!(
            %file,
            "a certificate has ended: new connections fail until a new one is in its place"
        ),
    }
    *said = Some((now, urgency));
}

/// Exports when the files' certificates end, and whether the files are what is used.
struct TransportCollector(Vec<Arc<Current>>);

impl fmt::Debug for TransportCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("TransportCollector")
    }
}

/// What a metrics registry collects of all TLS files of a process.
pub(super) fn collector(transports: &[Transport]) -> Box<dyn Collector> {
    let current = transports.iter().map(|transport| transport.current.clone());
    Box::new(TransportCollector(current.collect()))
}

impl Collector for TransportCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let mut expiry = encoder.encode_descriptor(
            "higuma_tls_certificate_expiry",
            "Until the first certificate of the file ends; negative: since",
            Some(&Unit::Seconds),
            MetricType::Gauge,
        )?;
        let mut files = BTreeMap::new();
        for current in &self.0 {
            let material = current.now();
            files.insert(current.paths.ca.display().to_string(), material.ca_ends);
            files.insert(current.paths.cert.display().to_string(), material.cert_ends);
        }
        for (file, ends) in &files {
            let labels = [("file", file.as_str())];
            ConstGauge::new(left(*ends)).encode(expiry.encode_family(&labels)?)?;
        }
        let is_refused = self.0.iter().any(|current| current.refused.load(Ordering::Relaxed));
        let refused = encoder.encode_descriptor(
            "higuma_tls_files_refused",
            "1: the TLS files changed and cannot be used, those before are",
            None,
            MetricType::Gauge,
        )?;
        ConstGauge::new(i64::from(is_refused)).encode(refused)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ca_is_reminded_of_earlier_than_a_certificate() {
        for (left, remind, expected) in [
            (8 * DAY, REMIND_CERTIFICATE, Urgency::None),
            (8 * DAY, REMIND_CA, Urgency::Soon),
            (DAY, REMIND_CERTIFICATE, Urgency::Soon),
            (0, REMIND_CERTIFICATE, Urgency::Ended),
            (-DAY, REMIND_CA, Urgency::Ended),
        ] {
            assert_eq!(urgency(left, remind), expected, "{left}");
        }
    }

    #[test]
    fn a_file_is_named_once_a_day_and_when_it_gets_worse() {
        let (mut said, mut now) = (None, Instant::now());
        let mut says = |left, now| {
            let before: Option<(Instant, Urgency)> = said;
            remind(&mut said, Path::new("ca.pem"), (left, REMIND_CA), now);
            before != said
        };
        assert!(says(DAY, now));
        now += BETWEEN / 2;
        assert!(!says(DAY - 60, now), "said half a day ago");
        now += BETWEEN / 2;
        assert!(says(60, now));
        assert!(says(0, now), "it ended");
        assert!(!says(-60, now));
    }
}
