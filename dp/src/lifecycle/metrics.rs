//! What a proxy's process counts about itself; Envoy has metrics of its own.

use higuma_serve::Metrics;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;

pub(super) struct ProxyMetrics {
    /// 1 while the Envoy process lives. It is never restarted in place.
    pub(super) up: Gauge,
    /// 1 while Envoy serves.
    pub(super) ready: Gauge,
    pub(super) bootstrap_requests: Counter,
}

impl ProxyMetrics {
    pub(super) fn register(metrics: &Metrics) -> Self {
        let this = Self {
            up: Gauge::default(),
            ready: Gauge::default(),
            bootstrap_requests: Counter::default(),
        };
        metrics.register(|registry| {
            let registry = registry.sub_registry_with_prefix("higuma_dp");
            registry.register("envoy_up", "Envoy's process lives", this.up.clone());
            registry.register("envoy_ready", "Envoy serves", this.ready.clone());
            let help = "Requests for a bootstrap, answered or not";
            registry.register("bootstrap_requests", help, this.bootstrap_requests.clone());
        });
        this
    }
}
