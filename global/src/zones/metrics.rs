//! Metrics of zones, read when they are scraped.

use higuma_kds::inbox::Flow;
use higuma_model::Kind;
use higuma_model::spec::ZoneInsight;
use higuma_rest::Progress as _;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;

use super::Endpoint;

/// Exports the zones of the cluster, and the streams and progress that this node knows.
pub(crate) struct ZonesCollector(pub(crate) Endpoint);

impl std::fmt::Debug for ZonesCollector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("ZonesCollector")
    }
}

impl Collector for ZonesCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let Endpoint { store, streams, reports } = &self.0;
        let snapshot = store.snapshot();
        let names: Vec<&str> = snapshot.of_kind(Kind::Zone).map(|z| z.key.name()).collect();
        let online = snapshot
            .of_kind(Kind::ZoneInsight)
            .filter(|insight| insight.decode::<ZoneInsight>().is_ok_and(|i| i.is_online()));
        let open = streams.watch().borrow().clone();
        let flows = |flow| open.values().flat_map(|s| s.values()).filter(move |s| s.flow == flow);
        gauge(&mut encoder, "zones", "Zones of the cluster", [("", names.len() as u64)])?;
        let online = [("", online.count() as u64)];
        gauge(&mut encoder, "zones_online", "Zones with a stream at any node", online)?;
        for (name, help, flow) in [
            ("kds_streams_to_zones", "Streams to zones that are open here", Flow::ToZone),
            ("kds_streams_from_zones", "Streams from zones that are open here", Flow::ToGlobal),
        ] {
            gauge(&mut encoder, name, help, [("", flows(flow).count() as u64)])?;
        }
        let known: Vec<_> =
            names.iter().filter_map(|zone| Some((*zone, reports.zone(zone)?))).collect();
        let fenced = known.iter().map(|(zone, p)| (*zone, u64::from(p.fenced.is_some())));
        gauge(&mut encoder, "zone_fenced", "1: the zone does not follow this global", fenced)?;
        let known: Vec<_> = known.iter().filter(|(_, p)| p.fenced.is_none()).collect();
        let received = known.iter().map(|(zone, progress)| (*zone, progress.received));
        gauge(&mut encoder, "zone_received_version", "What the zone has", received)?;
        let version = known.iter().map(|(zone, progress)| (*zone, progress.version));
        gauge(&mut encoder, "zone_version", "What all proxies of the zone run", version)?;
        let proxies = known.iter().map(|(zone, progress)| (*zone, progress.proxies.into()));
        gauge(&mut encoder, "zone_proxies", "Proxies whose streams are open", proxies)
    }
}

/// A gauge with a value for each zone; without the label where the zone is empty.
fn gauge<'a>(
    encoder: &mut DescriptorEncoder<'_>,
    name: &str,
    help: &str,
    values: impl IntoIterator<Item = (&'a str, u64)>,
) -> Result<(), std::fmt::Error> {
    let name = format!("higuma_{name}");
    let mut metric = encoder.encode_descriptor(&name, help, None, MetricType::Gauge)?;
    for (zone, value) in values {
        let value = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
        if zone.is_empty() {
            return value.encode(metric);
        }
        value.encode(metric.encode_family(&[("zone", zone)])?)?;
    }
    Ok(())
}
