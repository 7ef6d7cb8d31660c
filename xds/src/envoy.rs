//! Small parts of Envoy's messages that all generators share.

use envoy_types::pb::envoy::config::core::v3 as core;
use envoy_types::pb::envoy::r#type::matcher::v3::{StringMatcher, string_matcher::MatchPattern};
use envoy_types::pb::google::protobuf::{Any, BoolValue, Duration, UInt32Value};
use envoy_types::util::pack_any;
use prost::{Message, Name};

pub(crate) fn number(value: u32) -> Option<UInt32Value> {
    Some(UInt32Value { value })
}

pub(crate) fn truth(value: bool) -> Option<BoolValue> {
    Some(BoolValue { value })
}

pub(crate) fn seconds(seconds: i64) -> Option<Duration> {
    Some(Duration { seconds, nanos: 0 })
}

pub(crate) fn milliseconds(ms: i32) -> Option<Duration> {
    Some(Duration { seconds: i64::from(ms / 1000), nanos: (ms % 1000) * 1_000_000 })
}

pub(crate) fn pack<M: Message + Name>(message: M) -> Any {
    pack_any(message)
}

/// A socket address of TCP; `address` is the text of an IP address.
pub(crate) fn address(address: &str, port: u16) -> core::Address {
    let socket = core::SocketAddress {
        address: address.to_owned(),
        port_specifier: Some(core::socket_address::PortSpecifier::PortValue(u32::from(port))),
        ..Default::default()
    };
    core::Address { address: Some(core::address::Address::SocketAddress(socket)) }
}

/// Everything comes over the one ADS stream.
pub(crate) fn ads() -> core::ConfigSource {
    core::ConfigSource {
        resource_api_version: core::ApiVersion::V3.into(),
        config_source_specifier: Some(core::config_source::ConfigSourceSpecifier::Ads(
            core::AggregatedConfigSource::default(),
        )),
        ..Default::default()
    }
}

pub(crate) fn exact(value: String) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Exact(value)), ..Default::default() }
}

pub(crate) fn prefix(value: String) -> StringMatcher {
    StringMatcher { match_pattern: Some(MatchPattern::Prefix(value)), ..Default::default() }
}

pub(crate) fn inline(bytes: &[u8]) -> core::DataSource {
    core::DataSource {
        specifier: Some(core::data_source::Specifier::InlineBytes(bytes.to_vec())),
        ..Default::default()
    }
}
