//! `selector.proto`, `traffic_permission.proto`, `traffic_route.proto` of `kuma.mesh.v1alpha1`.

use super::Shape::{Bool, List, Map, Message, Optional, Text, Uint32, Uint64};
use super::{Field, Shape, TAGS, here, not_yet};

const SELECTORS: Shape = List(&Message(&[here(1, "match", TAGS)]));

pub(super) const TRAFFIC_PERMISSION: &[Field] =
    &[here(1, "sources", SELECTORS), here(2, "destinations", SELECTORS)];

pub(super) const TRAFFIC_ROUTE: &[Field] = &[
    here(1, "sources", SELECTORS),
    here(2, "destinations", SELECTORS),
    here(3, "conf", Message(CONF)),
];

const CONF: &[Field] = &[
    here(1, "split", SPLIT),
    not_yet(2, "load_balancer", Message(LOAD_BALANCER)),
    here(3, "destination", TAGS),
    not_yet(4, "http", List(&Message(HTTP))),
];

const SPLIT: Shape =
    List(&Message(&[here(1, "weight", Optional(&Uint32)), here(2, "destination", TAGS)]));

const LOAD_BALANCER: &[Field] = &[
    here(1, "round_robin", Message(&[])),
    here(2, "least_request", Message(&[here(1, "choice_count", Uint32)])),
    here(3, "ring_hash", Message(RING_HASH)),
    here(4, "random", Message(&[])),
    here(5, "maglev", Message(&[])),
];

const RING_HASH: &[Field] = &[
    here(1, "hash_function", Text),
    here(2, "min_ring_size", Uint64),
    here(3, "max_ring_size", Uint64),
];

const HTTP: &[Field] = &[
    here(1, "match", Message(HTTP_MATCH)),
    here(2, "modify", Message(HTTP_MODIFY)),
    here(3, "split", SPLIT),
    here(4, "destination", TAGS),
];

const HTTP_MATCH: &[Field] = &[
    here(1, "method", STRING_MATCHER),
    here(2, "path", STRING_MATCHER),
    here(3, "headers", Map(&STRING_MATCHER)),
];

const STRING_MATCHER: Shape =
    Message(&[here(1, "prefix", Text), here(2, "exact", Text), here(3, "regex", Text)]);

const HTTP_MODIFY: &[Field] = &[
    here(1, "path", Message(&[here(1, "rewritePrefix", Text), here(2, "regex", REGEX_REPLACE)])),
    here(2, "host", Message(&[here(1, "value", Text), here(2, "fromPath", REGEX_REPLACE)])),
    here(3, "requestHeaders", HEADERS),
    here(4, "responseHeaders", HEADERS),
];

const REGEX_REPLACE: Shape = Message(&[here(1, "pattern", Text), here(2, "substitution", Text)]);

const HEADERS: Shape = Message(&[
    here(
        1,
        "add",
        List(&Message(&[here(1, "name", Text), here(2, "value", Text), here(3, "append", Bool)])),
    ),
    here(2, "remove", List(&Message(&[here(1, "name", Text)]))),
]);
