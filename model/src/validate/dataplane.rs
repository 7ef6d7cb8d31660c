//! The rules of a Dataplane.

use std::collections::BTreeMap;

use serde_json::Value;

use super::tags::{self, Use};
use super::{Findings, address};
use crate::spec::{Dataplane, Inbound, Networking, Outbound, PROTOCOL_TAG};
use crate::violation::path;

const PORT_RANGE: &str = "port must be in the range [1, 65535]";

pub(super) fn check(dataplane: &Dataplane, spec: &Value, findings: &mut Findings) {
    if spec.get("networking").is_none() {
        findings.refuse("networking", "must be defined");
        return;
    }
    let networking = &dataplane.networking;
    if networking.address.is_empty() {
        findings.refuse("networking.address", "address can't be empty");
    } else {
        address::reachable(&networking.address, "networking.address", findings);
    }
    match &networking.gateway {
        Some(gateway) => {
            let at = "networking.gateway.tags";
            tags::with_service(&gateway.tags, Use::Proxy, at, findings);
            if gateway.tags.get(PROTOCOL_TAG).is_some_and(|protocol| protocol != "tcp") {
                findings
                    .refuse(path::key(at, PROTOCOL_TAG), "a delegated gateway's can only be tcp");
            }
            if !networking.inbound.is_empty() {
                findings.refuse("networking.inbound", "a gateway has no inbounds");
            }
        }
        None if networking.inbound.is_empty() => {
            let reason = "has to contain at least one inbound interface or gateway";
            findings.refuse("networking", reason);
        }
        None => {}
    }
    let mut listeners = Listeners::default();
    for (index, inbound) in networking.inbound.iter().enumerate() {
        let at = path::index("networking.inbound", index);
        check_inbound(inbound, networking, &at, findings);
        let address = or(&inbound.address, &networking.address);
        listeners.add(address, inbound.port, at, findings);
    }
    for (index, outbound) in networking.outbound.iter().enumerate() {
        let at = path::index("networking.outbound", index);
        check_outbound(outbound, &at, findings);
        listeners.add(outbound.bind_address(), outbound.port, at, findings);
    }
    if let Some(admin) = &networking.admin {
        // Envoy's admin listens on the loopback address.
        listeners.add("127.0.0.1", admin.port, "networking.admin".to_owned(), findings);
    }
}

fn check_inbound(inbound: &Inbound, networking: &Networking, at: &str, findings: &mut Findings) {
    if inbound.port == 0 {
        findings.refuse(path::field(at, "port"), PORT_RANGE);
    }
    address::ip_or_default(&inbound.address, &path::field(at, "address"), findings);
    let service_address = path::field(at, "serviceAddress");
    address::ip_or_default(&inbound.service_address, &service_address, findings);
    let listener = or(&inbound.address, &networking.address);
    let service_port = if inbound.service_port == 0 { inbound.port } else { inbound.service_port };
    if inbound.port != 0
        && service_port == inbound.port
        && or(&inbound.service_address, listener) == listener
    {
        let reason = "the proxy would forward to itself: servicePort or serviceAddress has to \
                      differ from the listener's port and address";
        findings.refuse(service_address, reason);
    }
    let tags = path::field(at, "tags");
    tags::with_service(&inbound.tags, Use::Proxy, &tags, findings);
    tags::protocol(&inbound.tags, &tags, findings);
}

fn check_outbound(outbound: &Outbound, at: &str, findings: &mut Findings) {
    if outbound.port == 0 {
        findings.refuse(path::field(at, "port"), PORT_RANGE);
    }
    address::ip_or_default(&outbound.address, &path::field(at, "address"), findings);
    tags::with_service(&outbound.tags, Use::Proxy, &path::field(at, "tags"), findings);
}

fn or<'a>(address: &'a str, default: &'a str) -> &'a str {
    if address.is_empty() { default } else { address }
}

/// What of the proxy listens where: two listeners on one address make Envoy refuse one of them.
#[derive(Default)]
struct Listeners<'a>(BTreeMap<(&'a str, u16), String>);

impl<'a> Listeners<'a> {
    fn add(&mut self, address: &'a str, port: u16, at: String, findings: &mut Findings) {
        if port == 0 {
            return;
        }
        match self.0.get(&(address, port)) {
            Some(other) => {
                let reason = format!("must differ from {other}, which listens on {address}:{port}");
                findings.refuse(path::field(&at, "port"), reason);
            }
            None => {
                self.0.insert((address, port), at);
            }
        }
    }
}
