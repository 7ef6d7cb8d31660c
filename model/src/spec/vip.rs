//! Vip: Higuma's own kind, named by the host name that it is the address of.

use std::net::Ipv4Addr;

use serde::{Deserialize, Serialize};

use crate::{Kind, KindSpec};

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Vip {
    /// What DNS answers for the host name; see [`vip`](crate::vip).
    pub address: Ipv4Addr,
}

impl KindSpec for Vip {
    const KIND: Kind = Kind::Vip;
}
