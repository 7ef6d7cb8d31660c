//! `dataplane.proto`, `dataplane_insight.proto` and `zone_ingress.proto` of
//! `kuma.mesh.v1alpha1`.

use super::Shape::{
    Bool, Duration, Enum, List, Message, Optional, Port, Struct, Text, Timestamp, Uint32,
};
use super::system::{METRICS_BACKEND, SERVICE_STATS};
use super::{Field, TAGS, computed, here, not_yet};

pub(super) const DATAPLANE: &[Field] = &[
    here(1, "networking", Message(NETWORKING)),
    not_yet(2, "metrics", METRICS_BACKEND),
    not_yet(3, "probes", Message(PROBES)),
];

const NETWORKING: &[Field] = &[
    here(1, "inbound", List(&Message(INBOUND))),
    here(2, "outbound", List(&Message(OUTBOUND))),
    here(3, "gateway", Message(GATEWAY)),
    not_yet(4, "transparent_proxying", Message(TRANSPARENT_PROXYING)),
    here(5, "address", Text),
    not_yet(7, "advertisedAddress", Text),
    here(8, "admin", Message(ENVOY_ADMIN)),
];

/// `EnvoyAdmin`.
const ENVOY_ADMIN: &[Field] = &[here(1, "port", Port)];

const INBOUND: &[Field] = &[
    here(2, "tags", TAGS),
    here(3, "port", Port),
    here(4, "servicePort", Port),
    here(5, "address", Text),
    here(6, "serviceAddress", Text),
    not_yet(7, "health", Message(&[here(1, "ready", Bool)])),
    not_yet(8, "serviceProbe", Message(SERVICE_PROBE)),
    here(
        9,
        "state",
        Enum { names: &["Ready", "NotReady", "Ignored"], not_yet: &["NotReady", "Ignored"] },
    ),
    not_yet(10, "name", Text),
];

const SERVICE_PROBE: &[Field] = &[
    here(1, "interval", Duration),
    here(2, "timeout", Duration),
    here(3, "unhealthy_threshold", Optional(&Uint32)),
    here(4, "healthy_threshold", Optional(&Uint32)),
    here(5, "tcp", Message(&[])),
];

const OUTBOUND: &[Field] = &[
    here(3, "address", Text),
    here(4, "port", Port),
    here(5, "tags", TAGS),
    not_yet(6, "backendRef", Message(BACKEND_REF)),
];

const BACKEND_REF: &[Field] = &[
    here(1, "kind", Text),
    here(2, "name", Text),
    here(3, "port", Uint32),
    here(4, "labels", TAGS),
];

const GATEWAY: &[Field] = &[
    here(1, "tags", TAGS),
    here(2, "type", Enum { names: &["DELEGATED", "BUILTIN"], not_yet: &["BUILTIN"] }),
];

const TRANSPARENT_PROXYING: &[Field] = &[
    here(1, "redirect_port_inbound", Uint32),
    here(2, "redirect_port_outbound", Uint32),
    here(3, "direct_access_services", List(&Text)),
    here(5, "reachable_services", List(&Text)),
    here(
        6,
        "ip_family_mode",
        Enum { names: &["UnSpecified", "DualStack", "IPv4", "IPv6"], not_yet: &[] },
    ),
    here(
        7,
        "reachable_backends",
        Message(&[here(1, "refs", List(&Message(REACHABLE_BACKEND_REF)))]),
    ),
];

const REACHABLE_BACKEND_REF: &[Field] = &[
    here(1, "kind", Text),
    here(2, "name", Text),
    here(3, "namespace", Text),
    here(4, "port", Optional(&Uint32)),
    here(5, "labels", TAGS),
];

const PROBES: &[Field] = &[
    here(1, "port", Uint32),
    here(
        2,
        "endpoints",
        List(&Message(&[
            here(1, "inbound_port", Uint32),
            here(2, "inbound_path", Text),
            here(3, "path", Text),
        ])),
    ),
];

pub(super) const DATAPLANE_INSIGHT: &[Field] = &[
    here(1, "subscriptions", List(&Message(DISCOVERY_SUBSCRIPTION))),
    here(2, "mTLS", Message(MTLS)),
    not_yet(3, "metadata", Struct),
];

const MTLS: &[Field] = &[
    here(1, "certificate_expiration_time", Timestamp),
    here(2, "last_certificate_regeneration", Timestamp),
    here(3, "certificate_regenerations", Uint32),
    here(4, "issuedBackend", Text),
    here(5, "supportedBackends", List(&Text)),
];

const DISCOVERY_SUBSCRIPTION: &[Field] = &[
    here(1, "id", Text),
    here(2, "control_plane_instance_id", Text),
    here(3, "connect_time", Timestamp),
    here(4, "disconnect_time", Timestamp),
    here(5, "status", Message(DISCOVERY_STATUS)),
    here(6, "version", Message(VERSION)),
    not_yet(7, "generation", Uint32),
];

const DISCOVERY_STATUS: &[Field] = &[
    here(1, "last_update_time", Timestamp),
    here(2, "total", Message(SERVICE_STATS)),
    here(3, "cds", Message(SERVICE_STATS)),
    here(4, "eds", Message(SERVICE_STATS)),
    here(5, "lds", Message(SERVICE_STATS)),
    here(6, "rds", Message(SERVICE_STATS)),
];

const VERSION: &[Field] = &[
    here(
        1,
        "kumaDp",
        Message(&[
            here(1, "version", Text),
            here(2, "gitTag", Text),
            here(3, "gitCommit", Text),
            here(4, "buildDate", Text),
            here(5, "kumaCpCompatible", Bool),
        ]),
    ),
    here(
        2,
        "envoy",
        Message(&[
            here(1, "version", Text),
            here(2, "build", Text),
            here(3, "kumaDpCompatible", Bool),
        ]),
    ),
    here(3, "dependencies", TAGS),
];

pub(super) const ZONE_INGRESS: &[Field] = &[
    here(1, "zone", Text),
    here(2, "networking", Message(INGRESS_NETWORKING)),
    computed(3, "availableServices", List(&Message(AVAILABLE_SERVICE))),
];

const INGRESS_NETWORKING: &[Field] = &[
    here(1, "address", Text),
    here(2, "advertisedAddress", Text),
    here(3, "port", Port),
    here(4, "advertisedPort", Port),
    here(5, "admin", Message(ENVOY_ADMIN)),
];

const AVAILABLE_SERVICE: &[Field] = &[
    here(1, "tags", TAGS),
    here(2, "instances", Uint32),
    here(3, "mesh", Text),
    not_yet(4, "externalService", Bool),
];
