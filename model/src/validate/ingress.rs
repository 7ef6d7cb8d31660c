//! The rules of a ZoneIngress.

use super::{Findings, address};
use crate::spec::ZoneIngress;

pub(super) fn check(ingress: &ZoneIngress, findings: &mut Findings) {
    let networking = &ingress.networking;
    if networking.port == 0 {
        findings.refuse("networking.port", "port must be in the range [1, 65535]");
    }
    if !networking.address.is_empty() {
        address::reachable(&networking.address, "networking.address", findings);
    }
    let advertised = &networking.advertised_address;
    match (advertised.is_empty(), networking.advertised_port) {
        (false, None | Some(0)) => {
            let reason = "has to be defined with advertisedAddress";
            findings.refuse("networking.advertisedPort", reason);
        }
        (true, Some(1..)) => {
            let reason = "has to be defined with advertisedPort";
            findings.refuse("networking.advertisedAddress", reason);
        }
        _ => {}
    }
    if !advertised.is_empty() {
        address::reachable(advertised, "networking.advertisedAddress", findings);
    }
    if networking
        .admin
        .as_ref()
        .is_some_and(|admin| admin.port != 0 && admin.port == networking.port)
    {
        findings.refuse("networking.admin.port", "must differ from networking.port");
    }
}
