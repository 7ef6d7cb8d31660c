//! `mesh.proto` and `metrics.proto` of `kuma.mesh.v1alpha1`, `zone.proto` and
//! `zone_insight.proto` of `kuma.system.v1alpha1`.

use super::Shape::{
    Bool, Double, Duration, Enum, List, Map, Message, Optional, Plugin, Struct, Text, Timestamp,
    Uint32, Uint64,
};
use super::{Field, Shape, TAGS, here, not_yet};

pub(super) const MESH: &[Field] = &[
    here(1, "mtls", Message(MTLS)),
    not_yet(2, "tracing", Message(TRACING)),
    not_yet(3, "logging", Message(LOGGING)),
    not_yet(4, "metrics", Message(METRICS)),
    here(5, "networking", Message(NETWORKING)),
    here(6, "routing", Message(ROUTING)),
    not_yet(7, "constraints", Message(CONSTRAINTS)),
    here(8, "skipCreatingInitialPolicies", List(&Text)),
    here(9, "meshServices", Message(MESH_SERVICES)),
];

const MTLS: &[Field] = &[
    here(1, "enabledBackend", Text),
    here(2, "backends", List(&Message(CA_BACKEND))),
    not_yet(3, "skipValidation", Bool),
];

const CA_BACKEND: &[Field] = &[
    here(1, "name", Text).required("cannot be empty"),
    here(2, "type", Plugin { here: &["builtin"], not_yet: &["provided"] })
        .required("could not find installed plugin for this type"),
    here(3, "dpCert", Message(DP_CERT)),
    not_yet(4, "conf", Struct),
    here(5, "mode", Enum { names: &["STRICT", "PERMISSIVE"], not_yet: &["PERMISSIVE"] }),
    not_yet(6, "rootChain", Message(&[here(1, "requestTimeout", Duration)])),
];

const DP_CERT: &[Field] = &[
    here(1, "rotation", Message(&[here(1, "expiration", Text)])),
    not_yet(2, "requestTimeout", Duration),
];

const TRACING: &[Field] = &[
    here(1, "defaultBackend", Text),
    here(
        2,
        "backends",
        List(&Message(&[
            here(1, "name", Text),
            here(2, "sampling", Optional(&Double)),
            here(3, "type", Text),
            here(4, "conf", Struct),
        ])),
    ),
];

const LOGGING: &[Field] = &[
    here(1, "defaultBackend", Text),
    here(
        2,
        "backends",
        List(&Message(&[
            here(1, "name", Text),
            here(2, "format", Text),
            here(3, "type", Text),
            here(4, "conf", Struct),
        ])),
    ),
];

const METRICS: &[Field] =
    &[here(1, "enabledBackend", Text), here(2, "backends", List(&METRICS_BACKEND))];

pub(super) const METRICS_BACKEND: Shape =
    Message(&[here(1, "name", Text), here(2, "type", Text), here(3, "conf", Struct)]);

const NETWORKING: &[Field] =
    &[here(1, "outbound", Message(&[not_yet(1, "passthrough", Optional(&Bool))]))];

const ROUTING: &[Field] = &[
    here(1, "localityAwareLoadBalancing", Bool),
    not_yet(2, "zoneEgress", Bool),
    not_yet(3, "defaultForbidMeshExternalServiceAccess", Bool),
];

const CONSTRAINTS: &[Field] = &[here(
    1,
    "dataplaneProxy",
    Message(&[here(1, "requirements", TAG_RULES), here(2, "restrictions", TAG_RULES)]),
)];

const TAG_RULES: Shape = List(&Message(&[here(1, "tags", TAGS)]));

const MESH_SERVICES: &[Field] = &[here(
    1,
    "mode",
    Enum {
        names: &["Disabled", "Everywhere", "ReachableBackends", "Exclusive"],
        not_yet: &["Everywhere", "ReachableBackends", "Exclusive"],
    },
)];

pub(super) const ZONE: &[Field] = &[here(1, "enabled", Optional(&Bool))];

/// No message of Kuma: it never leaves its zone.
pub(super) const VIP: &[Field] = &[here(1, "address", Text)];

pub(super) const ZONE_INSIGHT: &[Field] = &[
    here(1, "subscriptions", List(&Message(KDS_SUBSCRIPTION))),
    not_yet(2, "envoy_admin_streams", Message(ENVOY_ADMIN_STREAMS)),
    not_yet(3, "health_check", Message(&[here(1, "time", Timestamp)])),
    not_yet(4, "kds_streams", Message(KDS_STREAMS)),
];

const ENVOY_ADMIN_STREAMS: &[Field] = &[
    here(1, "config_dump_global_instance_id", Text),
    here(2, "stats_global_instance_id", Text),
    here(3, "clusters_global_instance_id", Text),
];

const KDS_STREAMS: &[Field] = &[
    here(1, "clusters", KDS_STREAM),
    here(2, "config_dump", KDS_STREAM),
    here(3, "stats", KDS_STREAM),
    here(4, "global_to_zone", KDS_STREAM),
    here(5, "zone_to_global", KDS_STREAM),
];

const KDS_STREAM: Shape =
    Message(&[here(1, "global_instance_id", Text), here(2, "connect_time", Timestamp)]);

const KDS_SUBSCRIPTION: &[Field] = &[
    here(1, "id", Text),
    here(2, "global_instance_id", Text),
    here(3, "connect_time", Timestamp),
    here(4, "disconnect_time", Timestamp),
    here(5, "status", Message(KDS_STATUS)),
    here(6, "version", Message(&[here(1, "kumaCp", Message(CP_VERSION))])),
    not_yet(7, "generation", Uint32),
    not_yet(8, "config", Text),
    here(9, "auth_token_provided", Bool),
    here(10, "zone_instance_id", Text),
];

const KDS_STATUS: &[Field] = &[
    here(1, "last_update_time", Timestamp),
    here(2, "total", Message(SERVICE_STATS)),
    here(3, "stat", Map(&Message(SERVICE_STATS))),
];

/// `KDSServiceStats` and `DiscoveryServiceStats` have the same fields.
pub(super) const SERVICE_STATS: &[Field] = &[
    here(1, "responses_sent", Uint64),
    here(2, "responses_acknowledged", Uint64),
    here(3, "responses_rejected", Uint64),
];

const CP_VERSION: &[Field] = &[
    here(1, "version", Text),
    here(2, "gitTag", Text),
    here(3, "gitCommit", Text),
    here(4, "buildDate", Text),
    here(5, "kumaCpGlobalCompatible", Bool),
];
