//! The bytes of a snapshot file, and of a backup: a header, blocks, an end.
//!
//! ```text
//! header  magic 8 | format u32 | length u32 | message | crc u32 of all before
//! block   length u32 | section u32 | crc u32 | body, at most 256 KiB
//! end     a block of section 0: number of blocks before it u64 | SHA-256 of all before this block
//! ```
//! Little-endian. A section is the bytes of its blocks, one after the other: prost records, each
//! behind its length. A block's CRC covers its number in the file, its section and its body. Nothing
//! in it names the node: the same state has the same bytes everywhere.

use std::io;

use bytes::{Buf as _, Bytes, BytesMut};
use prost::Message;
use sha2::{Digest as _, Sha256};

use super::error::Broken;
use crate::proto::{SnapshotBackup, SnapshotHeader, SnapshotSection};

/// The versions of the formats that this program reads and writes.
pub(super) const FORMAT: u32 = 1;
pub(super) const BACKUP_FORMAT: u32 = 1;

/// What a kind of file begins with.
pub(super) trait Header: Message + Default {
    const MAGIC: [u8; 8];
    const FORMAT: u32;
    const NAME: &'static str;

    fn sections(&self) -> &[SnapshotSection];
}

impl Header for SnapshotHeader {
    const MAGIC: [u8; 8] = *b"HIGUMASN";
    const FORMAT: u32 = FORMAT;
    const NAME: &'static str = "snapshot";

    fn sections(&self) -> &[SnapshotSection] {
        &self.sections
    }
}

impl Header for SnapshotBackup {
    const MAGIC: [u8; 8] = *b"HIGUMABK";
    const FORMAT: u32 = BACKUP_FORMAT;
    const NAME: &'static str = "backup";

    fn sections(&self) -> &[SnapshotSection] {
        &self.sections
    }
}

const FIXED_HEADER_BYTES: usize = 16;
const CRC_BYTES: usize = 4;
const BLOCK_HEADER_BYTES: usize = 12;
/// A block's body: small enough to name the place of damage, large enough to cost nothing.
pub(super) const BLOCK_BYTES_MAX: usize = 256 << 10;
/// The header grows with the members only.
const HEADER_BYTES_MAX: usize = 1 << 20;
/// A resource has at most 1 MiB; the rest is for what surrounds it.
const RECORD_BYTES_MAX: usize = 4 << 20;

const END: u32 = 0;
const END_BYTES: usize = 8 + 32;

/// Names the contents of a file.
pub(crate) type Digest = [u8; 32];

/// Where the bytes go as they come to be.
pub(super) type Sink<'a> = dyn FnMut(&[u8]) -> io::Result<()> + 'a;

/// Writes a file from start to end.
pub(super) struct Writer<'a> {
    sink: &'a mut Sink<'a>,
    hash: Sha256,
    blocks: u64,
    section: u32,
    body: Vec<u8>,
}

impl<'a> Writer<'a> {
    pub(super) fn begin<H: Header>(sink: &'a mut Sink<'a>, header: &H) -> io::Result<Self> {
        let body = header.encode_to_vec();
        let mut out = Vec::with_capacity(FIXED_HEADER_BYTES + body.len() + CRC_BYTES);
        out.extend_from_slice(&H::MAGIC);
        out.extend_from_slice(&H::FORMAT.to_le_bytes());
        out.extend_from_slice(&length(&body).to_le_bytes());
        out.extend_from_slice(&body);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        let mut writer = Self { sink, hash: Sha256::new(), blocks: 0, section: END, body: vec![] };
        writer.put(&out)?;
        Ok(writer)
    }

    /// One record of a section; sections in the order that the header names them in.
    pub(super) fn record(&mut self, section: u32, record: &impl Message) -> io::Result<()> {
        if section != self.section {
            self.flush()?;
            self.section = section;
        }
        record.encode_length_delimited(&mut self.body).map_err(io::Error::other)?;
        while self.body.len() >= BLOCK_BYTES_MAX {
            let rest = self.body.split_off(BLOCK_BYTES_MAX);
            self.flush()?;
            self.body = rest;
        }
        Ok(())
    }

    /// Ends the file.
    pub(super) fn end(mut self) -> io::Result<Digest> {
        self.flush()?;
        let digest: Digest = self.hash.clone().finalize().into();
        let mut body = Vec::with_capacity(END_BYTES);
        body.extend_from_slice(&self.blocks.to_le_bytes());
        body.extend_from_slice(&digest);
        self.block(END, &body)?;
        Ok(digest)
    }

    fn flush(&mut self) -> io::Result<()> {
        if self.body.is_empty() {
            return Ok(());
        }
        let body = std::mem::take(&mut self.body);
        self.block(self.section, &body)?;
        self.blocks += 1;
        Ok(())
    }

    fn block(&mut self, section: u32, body: &[u8]) -> io::Result<()> {
        let mut out = Vec::with_capacity(BLOCK_HEADER_BYTES + body.len());
        out.extend_from_slice(&length(body).to_le_bytes());
        out.extend_from_slice(&section.to_le_bytes());
        out.extend_from_slice(&block_crc(self.blocks, section, body).to_le_bytes());
        out.extend_from_slice(body);
        self.put(&out)
    }

    fn put(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.hash.update(bytes);
        (self.sink)(bytes)
    }
}

/// Follows a backup's bytes as they go by, and says at their end whether they were whole: for who
/// passes them on and can't read them again.
#[derive(Debug, Default)]
pub struct Passing {
    hash: Sha256,
    /// The last bytes seen: the end, if nothing follows.
    tail: Vec<u8>,
}

impl Passing {
    pub fn take(&mut self, bytes: &[u8]) {
        self.tail.extend_from_slice(bytes);
        let sure = self.tail.len().saturating_sub(BLOCK_HEADER_BYTES + END_BYTES);
        self.hash.update(&self.tail[..sure]);
        self.tail.drain(..sure);
    }

    pub fn is_whole(self) -> bool {
        let digest: Digest = self.hash.finalize().into();
        self.tail.len() == BLOCK_HEADER_BYTES + END_BYTES && self.tail.ends_with(&digest)
    }
}

/// A file whose header is whole, read block by block.
pub(super) struct Reader<H> {
    pub(super) header: H,
    bytes: Bytes,
    at: usize,
    blocks: u64,
}

/// One block.
struct Block {
    section: u32,
    body: Bytes,
    end: usize,
}

impl<H: Header> Reader<H> {
    pub(super) fn open(bytes: Bytes) -> Result<Self, Broken> {
        let damaged = |why: &str| Broken::Damaged { offset: 0, why: why.to_owned() };
        if bytes.len() < FIXED_HEADER_BYTES || bytes[..8] != H::MAGIC {
            return Err(damaged(&format!("it does not begin like a {}", H::NAME)));
        }
        let (format, length) = (u32_at(&bytes, 8), u32_at(&bytes, 12) as usize);
        let end = FIXED_HEADER_BYTES + length;
        if length > HEADER_BYTES_MAX || bytes.len() < end + CRC_BYTES {
            return Err(damaged("it ends within its header"));
        }
        if crc32fast::hash(&bytes[..end]) != u32_at(&bytes, end) {
            return Err(damaged("the checksum of its header is wrong"));
        }
        if format != H::FORMAT {
            return Err(Broken::Format(format));
        }
        let header = H::decode(bytes.slice(FIXED_HEADER_BYTES..end))
            .map_err(|_| Broken::NotUnderstood("its header".to_owned()))?;
        Ok(Self { header, bytes, at: end + CRC_BYTES, blocks: 0 })
    }

    /// Passes every record with its section to `take`, which says what it does not understand.
    /// Checks all checksums, the numbers of records and the digest, which it returns.
    pub(super) fn read(
        mut self,
        take: &mut dyn FnMut(u32, Bytes) -> Result<(), String>,
    ) -> Result<Digest, Broken> {
        for section in self.header.sections().to_vec() {
            let mut waiting = BytesMut::new();
            let mut left = section.records;
            while left > 0 {
                let offset = self.at;
                let block = self.block()?;
                if block.section != section.kind {
                    let why = format!("a block of section {} is missing here", section.kind);
                    return Err(Broken::damaged(offset, why));
                }
                self.at = block.end;
                self.blocks += 1;
                waiting.extend_from_slice(&block.body);
                while left > 0 {
                    let next = next_record(&mut waiting);
                    let next = next.map_err(|why| Broken::damaged(offset, why.to_owned()))?;
                    let Some(record) = next else { break };
                    take(section.kind, record).map_err(Broken::NotUnderstood)?;
                    left -= 1;
                }
            }
            if !waiting.is_empty() {
                let why = format!("section {} is longer than its records", section.kind);
                return Err(Broken::damaged(self.at, why));
            }
        }
        self.end()
    }

    fn end(&self) -> Result<Digest, Broken> {
        let end = self.block()?;
        let digest: Digest = Sha256::digest(&self.bytes[..self.at]).into();
        let expected = [&self.blocks.to_le_bytes()[..], &digest].concat();
        if end.section != END || end.body != expected {
            return Err(Broken::damaged(self.at, "its digest is wrong".to_owned()));
        }
        if end.end != self.bytes.len() {
            return Err(Broken::damaged(end.end, "bytes follow its end".to_owned()));
        }
        Ok(digest)
    }

    fn block(&self) -> Result<Block, Broken> {
        let damaged = |why: &str| Broken::damaged(self.at, why.to_owned());
        let body_at = self.at + BLOCK_HEADER_BYTES;
        if self.bytes.len() < body_at {
            return Err(damaged("it ends here, in the middle"));
        }
        let (length, section) =
            (u32_at(&self.bytes, self.at) as usize, u32_at(&self.bytes, self.at + 4));
        let end = body_at + length;
        if length > BLOCK_BYTES_MAX || self.bytes.len() < end {
            return Err(damaged("it ends here, in the middle"));
        }
        let body = self.bytes.slice(body_at..end);
        if block_crc(self.blocks, section, &body) != u32_at(&self.bytes, self.at + 8) {
            return Err(damaged("the checksum of this block is wrong"));
        }
        Ok(Block { section, body, end })
    }
}

/// Takes the first record off `waiting`, if it is there whole.
fn next_record(waiting: &mut BytesMut) -> Result<Option<Bytes>, &'static str> {
    let mut rest = &waiting[..];
    let length = match prost::decode_length_delimiter(&mut rest) {
        Ok(length) => length,
        // Its bytes go on in the next block.
        Err(_) if waiting.len() < 10 => return Ok(None),
        Err(_) => return Err("the length of a record is none"),
    };
    if length > RECORD_BYTES_MAX {
        return Err("a record is too long");
    }
    let prefix = waiting.len() - rest.len();
    if rest.len() < length {
        return Ok(None);
    }
    waiting.advance(prefix);
    Ok(Some(waiting.split_to(length).freeze()))
}

fn block_crc(number: u64, section: u32, body: &[u8]) -> u32 {
    let mut crc = crc32fast::Hasher::new();
    crc.update(&number.to_le_bytes());
    crc.update(&section.to_le_bytes());
    crc.update(body);
    crc.finalize()
}

fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("invariant: headers and blocks are below 4 GiB")
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("invariant: 4 bytes"))
}
