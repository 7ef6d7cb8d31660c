//! How many queries were answered, by result.

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::registry::Registry;

/// What became of a query.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum QueryResult {
    /// An address of `.mesh`.
    Answered,
    /// A name of `.mesh` without the type asked for.
    Empty,
    /// Not a name of `.mesh` that is known.
    NoSuchName,
    /// Another name server's answer, be it negative.
    Forwarded,
    /// No other name server answered in time.
    ForwardFailed,
    /// Too many queries waited for other name servers.
    Busy,
    /// Malformed, or something that is not done here.
    Refused,
}

impl QueryResult {
    const fn name(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Empty => "empty",
            Self::NoSuchName => "no_such_name",
            Self::Forwarded => "forwarded",
            Self::ForwardFailed => "forward_failed",
            Self::Busy => "busy",
            Self::Refused => "refused",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct Labels {
    result: &'static str,
}

/// Counters of queries; clones share them.
#[derive(Debug, Clone, Default)]
pub struct QueryCounts(Family<Labels, Counter>);

impl QueryCounts {
    /// Registers them as `higuma_dns_queries`, with the label `result`.
    pub fn register(&self, registry: &mut Registry) {
        let help = "Queries by what became of them";
        registry.register("higuma_dns_queries", help, self.0.clone());
    }

    pub(crate) fn count(&self, result: QueryResult) {
        self.0.get_or_create(&Labels { result: result.name() }).inc();
    }
}
