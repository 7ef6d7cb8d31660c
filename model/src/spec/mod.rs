//! The typed specs of the kinds: the fields that this version supports, named and encoded as
//! Kuma's proto3 JSON. Reading is lenient (unknown fields were sorted out at admission).

mod dataplane;
mod ingress;
mod insight;
mod mesh;
mod policy;
mod vip;
mod zone;

pub use dataplane::{
    Admin, Dataplane, Gateway, GatewayType, Inbound, Networking, Outbound, Protocol,
};
pub use ingress::{AvailableService, IngressNetworking, ZoneIngress};
pub use insight::{
    CpVersion, DataplaneInsight, DiscoveryStatus, DiscoverySubscription, DpVersion, EnvoyVersion,
    IssuedCertificate, KdsStatus, KdsSubscription, ProxyVersion, ResponseCounts, Time, ZoneInsight,
    ZoneVersion,
};
pub use mesh::{
    CaBackend, CaType, DpCert, MAX_CERTIFICATE_HOURS, MIN_CERTIFICATE_HOURS, Mesh, Mtls, MtlsMode,
    Rotation, Routing,
};
pub use policy::{
    Conf, DestinationSelector, Selector, SplitEntry, Tags, TrafficPermission, TrafficRoute,
};
pub use vip::Vip;
pub use zone::Zone;

/// The tag that names a service.
pub const SERVICE_TAG: &str = "kuma.io/service";
/// The tag that names the protocol of an inbound.
pub const PROTOCOL_TAG: &str = "kuma.io/protocol";
/// The tag that names the zone; the control plane of the zone sets it.
pub const ZONE_TAG: &str = "kuma.io/zone";
