//! What the two ends tell each other in gRPC metadata when a stream opens.

use std::sync::Arc;

use tonic::Status;
use tonic::metadata::{AsciiMetadataValue, MetadataMap};

use crate::batch::{Position, parse_cluster};

const CLIENT_ID: &str = "client-id";
const FEATURES: &str = "features";
const COMMIT: &str = "higuma-commit";
const RESUME: &str = "higuma-resume";
const KDS_VERSION: &str = "kds-version";
const VERSION: &str = "version";

/// Bytes of a zone's name: it becomes a DNS label.
const MAX_ZONE_BYTES: usize = 63;

/// What a zone says of itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Hello {
    pub zone: Arc<str>,
    /// Whether the peer is Higuma's: commits and resume.
    pub commits: bool,
    /// Where it stands: for what comes down, in the global's history, absent where it has followed
    /// none; for what goes up, in its own store's.
    pub position: Option<Position>,
    /// The version of its program, for display.
    pub version: String,
}

/// `cluster/epoch/version`, the first in hexadecimal.
pub(crate) fn resume_text(position: Position) -> String {
    format!("{}/{}/{}", position.cluster, position.epoch, position.version)
}

pub(crate) fn parse_resume(text: &str) -> Option<Position> {
    let mut parts = text.split('/');
    let cluster = parse_cluster(parts.next()?)?;
    let position = Position {
        cluster,
        epoch: parts.next()?.parse().ok()?,
        version: parts.next()?.parse().ok()?,
    };
    parts.next().is_none().then_some(position)
}

impl Hello {
    /// Reads a zone's metadata; an error names the key and what belongs there.
    pub(crate) fn read(metadata: &MetadataMap) -> Result<Self, Status> {
        let zone = text(metadata, CLIENT_ID).unwrap_or_default();
        let letter = |c: u8| c.is_ascii_lowercase() || c.is_ascii_digit() || c == b'-';
        if zone.is_empty() || zone.len() > MAX_ZONE_BYTES || !zone.bytes().all(letter) {
            return Err(Status::invalid_argument(format!(
                "metadata {CLIENT_ID} must be the zone's name: 1 to {MAX_ZONE_BYTES} of a-z, 0-9 \
                 and '-'"
            )));
        }
        let (commits, position) = peer(metadata)?;
        let version = text(metadata, VERSION).unwrap_or_default().chars().take(64).collect();
        Ok(Self { zone: zone.into(), commits, position, version })
    }

    pub(crate) fn write(zone: &str, position: Option<Position>, metadata: &mut MetadataMap) {
        metadata.insert(CLIENT_ID, ascii(zone));
        metadata.insert(KDS_VERSION, ascii("v3"));
        metadata.insert(VERSION, ascii(env!("CARGO_PKG_VERSION")));
        metadata.append(FEATURES, ascii("hash-suffix"));
        agree(position, metadata);
    }
}

/// What the answering end says: that it is Higuma's, and where it stands.
pub(crate) fn agree(position: Option<Position>, metadata: &mut MetadataMap) {
    metadata.append(FEATURES, ascii(COMMIT));
    if let Some(position) = position {
        metadata.insert(RESUME, ascii(&resume_text(position)));
    }
}

/// Whether the peer is Higuma's, and where it stands.
pub(crate) fn peer(metadata: &MetadataMap) -> Result<(bool, Option<Position>), Status> {
    let features = metadata.get_all(FEATURES).iter().filter_map(|value| value.to_str().ok());
    let commits = features.flat_map(|list| list.split(',')).any(|one| one.trim() == COMMIT);
    let position = match text(metadata, RESUME) {
        None => None,
        Some(resume) => Some(parse_resume(resume).ok_or_else(|| {
            Status::invalid_argument(format!("metadata {RESUME} must be cluster/epoch/version"))
        })?),
    };
    Ok((commits, position))
}

fn text<'a>(metadata: &'a MetadataMap, key: &str) -> Option<&'a str> {
    metadata.get(key)?.to_str().ok()
}

fn ascii(text: &str) -> AsciiMetadataValue {
    text.parse().unwrap_or_else(|_| AsciiMetadataValue::from_static(""))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::CLUSTER;

    #[test]
    fn what_is_written_is_read() {
        for position in [None, Some(Position { cluster: CLUSTER, epoch: u64::MAX, version: 7 })] {
            let mut metadata = MetadataMap::new();
            Hello::write("west", position, &mut metadata);
            let hello = Hello::read(&metadata).unwrap();
            assert_eq!((&*hello.zone, hello.commits, hello.position), ("west", true, position));
        }
    }

    #[test]
    fn kumas_zones_have_no_commits() {
        let mut metadata = MetadataMap::new();
        metadata.insert(CLIENT_ID, ascii("west"));
        metadata.append(FEATURES, ascii("zone-ping-health"));
        metadata.append(FEATURES, ascii("hash-suffix"));
        let hello = Hello::read(&metadata).unwrap();
        assert_eq!((hello.commits, hello.position), (false, None));
    }

    #[test]
    fn bad_metadata_is_refused() {
        for (key, value) in [
            (CLIENT_ID, ""),
            (CLIENT_ID, "West"),
            (CLIENT_ID, "a.b"),
            (RESUME, "x/1/2"),
            (RESUME, "00000000000000000000000000000abc/1"),
            (RESUME, "00000000000000000000000000000abc/1/2/3"),
            (RESUME, "+0000000000000000000000000000abc/1/2"),
        ] {
            let mut metadata = MetadataMap::new();
            Hello::write("west", None, &mut metadata);
            metadata.insert(key, ascii(value));
            let status = Hello::read(&metadata).unwrap_err();
            assert_eq!(status.code(), tonic::Code::InvalidArgument, "{key}: {value}");
            assert!(status.message().contains(key), "{}", status.message());
        }
    }
}
