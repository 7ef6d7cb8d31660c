//! Questions for addresses of names, over UDP and TCP (RFC 1035), as a resolver asks them.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, bail, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::time::timeout;

use crate::cluster::Cluster;

/// As resolvers have it: a try takes so long, and there are two.
const TRY_LIMIT: Duration = Duration::from_secs(2);
const TRIES: u16 = 2;

const HEADER: usize = 12;
const TYPE_A: u16 = 1;
const CLASS_IN: u16 = 1;
const RECURSION_DESIRED: u16 = 0x0100;
const IS_ANSWER: u16 = 0x8000;
/// What a datagram holds at most.
const MAX_MESSAGE: usize = 65_535;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) enum Transport {
    Udp,
    Tcp,
}

/// What a server said.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(crate) struct Resolved {
    /// The response code; 0 is no error.
    pub(crate) code: u8,
    pub(crate) addresses: Vec<Ipv4Addr>,
}

impl Resolved {
    /// What a name of the mesh has.
    pub(crate) fn is_one_address(&self) -> bool {
        self.code == 0 && self.addresses.len() == 1
    }
}

/// Asks a server from the network of `node` for the IPv4 addresses of `name`.
///
/// # Errors
/// No try was answered, or the answer is none; says what of the last try.
pub(crate) async fn resolve(
    cluster: &Arc<dyn Cluster>,
    node: &str,
    server: SocketAddr,
    transport: Transport,
    (name, id): (&str, u16),
) -> anyhow::Result<Resolved> {
    let mut last = None;
    for number in 0..TRIES {
        let id = id.wrapping_add(number);
        let query = query(name, id)?;
        let asked = async {
            match transport {
                Transport::Udp => over_udp(&**cluster, node, server, &query).await,
                Transport::Tcp => over_tcp(&**cluster, node, server, &query).await,
            }
        };
        match timeout(TRY_LIMIT, asked).await {
            Ok(Ok(message)) => return parse(&message, id),
            Ok(Err(why)) => last = Some(why),
            Err(_) => {
                last = Some(anyhow::anyhow!("no answer within {} s", TRY_LIMIT.as_secs()));
            }
        }
    }
    Err(last.context("no try was made")?)
}

async fn over_udp(
    cluster: &dyn Cluster,
    node: &str,
    server: SocketAddr,
    query: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let socket = cluster.udp(node, server).await?;
    socket.send(query).await?;
    let mut message = vec![0; MAX_MESSAGE];
    let length = socket.recv(&mut message).await?;
    message.truncate(length);
    Ok(message)
}

async fn over_tcp(
    cluster: &dyn Cluster,
    node: &str,
    server: SocketAddr,
    query: &[u8],
) -> anyhow::Result<Vec<u8>> {
    let mut stream = cluster.connect(node, server).await?;
    let mut framed = u16::try_from(query.len())?.to_be_bytes().to_vec();
    framed.extend(query);
    stream.write_all(&framed).await?;
    let length = stream.read_u16().await?;
    let mut message = vec![0; usize::from(length)];
    stream.read_exact(&mut message).await?;
    Ok(message)
}

fn query(name: &str, id: u16) -> anyhow::Result<Vec<u8>> {
    let mut message = Vec::new();
    for field in [id, RECURSION_DESIRED, 1, 0, 0, 0] {
        message.extend(field.to_be_bytes());
    }
    for label in name.split('.') {
        ensure!((1..=63).contains(&label.len()), "{name:?} is no name");
        message.push(u8::try_from(label.len())?);
        message.extend(label.as_bytes());
    }
    message.push(0);
    message.extend(TYPE_A.to_be_bytes());
    message.extend(CLASS_IN.to_be_bytes());
    Ok(message)
}

fn parse(message: &[u8], id: u16) -> anyhow::Result<Resolved> {
    let mut fields = Fields { message, at: 0 };
    ensure!(fields.number()? == id, "the answer to another question");
    let flags = fields.number()?;
    ensure!(flags & IS_ANSWER != 0, "a question, not an answer");
    let (questions, answers) = (fields.number()?, fields.number()?);
    fields.at = HEADER;
    for _ in 0..questions {
        fields.name()?;
        fields.skip(4)?;
    }
    let mut addresses = Vec::new();
    for _ in 0..answers {
        fields.name()?;
        let (kind, class) = (fields.number()?, fields.number()?);
        fields.skip(4)?;
        let length = usize::from(fields.number()?);
        let data = fields.skip(length)?;
        if let (TYPE_A, CLASS_IN, Ok(octets)) = (kind, class, <[u8; 4]>::try_from(data)) {
            addresses.push(Ipv4Addr::from(octets));
        }
    }
    addresses.sort_unstable();
    Ok(Resolved { code: u8::try_from(flags & 0xf)?, addresses })
}

struct Fields<'a> {
    message: &'a [u8],
    at: usize,
}

impl<'a> Fields<'a> {
    fn skip(&mut self, count: usize) -> anyhow::Result<&'a [u8]> {
        let bytes = self.message.get(self.at..self.at + count).context("the answer is cut off")?;
        self.at += count;
        Ok(bytes)
    }

    fn number(&mut self) -> anyhow::Result<u16> {
        let bytes = self.skip(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    /// Labels, or a pointer to some.
    fn name(&mut self) -> anyhow::Result<()> {
        loop {
            match self.skip(1)?[0] {
                0 => return Ok(()),
                pointer if pointer >= 0xc0 => {
                    self.skip(1)?;
                    return Ok(());
                }
                length if length < 64 => {
                    self.skip(usize::from(length))?;
                }
                other => bail!("a label of the unknown form {other:#x}"),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// `billing.mesh` is 240.0.0.1, with a pointer to the question's name.
    fn answer(code: u16) -> Vec<u8> {
        let mut message = query("billing.mesh", 7).unwrap();
        message[2..4].copy_from_slice(&(0x8180 | code).to_be_bytes());
        message[7] = 1;
        message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 240, 0, 0, 1]);
        message
    }

    #[test]
    fn an_answer_has_its_code_and_its_addresses() {
        let resolved = parse(&answer(0), 7).unwrap();
        let addresses = vec![Ipv4Addr::new(240, 0, 0, 1)];
        assert_eq!(resolved, Resolved { code: 0, addresses });
        assert_eq!(parse(&answer(3), 7).unwrap().code, 3);
    }

    #[test]
    fn what_is_no_answer_is_told_and_never_panics() {
        assert!(parse(&answer(0), 8).is_err(), "of another question");
        assert!(parse(&query("billing.mesh", 7).unwrap(), 7).is_err(), "a question");
        let whole = answer(0);
        for length in 0..whole.len() {
            assert!(parse(&whole[..length], 7).is_err(), "cut off after {length} bytes");
        }
        assert!(query("a..mesh", 1).is_err());
    }
}
