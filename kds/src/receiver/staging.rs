//! A batch while it comes in, and the judgement of what is in it.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use envoy_types::pb::envoy::service::discovery::v3::Resource as Entry;
use higuma_model::{Key, Kind, Resource, Snapshot};
use prost::Message;

use super::ReceiveError;
use crate::batch::{MAX_BATCH_BYTES, MAX_REASON_CHARS, Verdict};
use crate::messages::{self, Request, Response};
use crate::wire::{self, Direction, split_entry_name};

/// Bytes staged before the stream is given up: what a sender may put in a batch, and the framing.
const MAX_STAGED_BYTES: usize = 2 * MAX_BATCH_BYTES;

/// Responses of types, by type name, waiting for their Commit.
#[derive(Debug, Default)]
pub(crate) struct Staged {
    by_type: BTreeMap<String, (Vec<Entry>, Vec<String>)>,
    bytes: usize,
}

/// What of a batch is to be written, and what is refused.
#[derive(Debug, Default)]
pub(crate) struct Judged {
    pub(crate) upserts: Vec<Resource>,
    pub(crate) removed: Vec<Key>,
    pub(crate) refused: Vec<Verdict>,
}

/// What it says of a resource that a batch does not name it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Absence {
    /// Nothing: removals are named.
    SaysNothing,
    /// The sender has it not, unless it has nothing of the kind: absence is not deletion.
    Removes,
    /// The sender has it not. For a difference that an operator sees before it is written.
    RemovesAll,
}

/// Subscriptions that name every synced resource here and its version at its owner.
pub(crate) fn inventory(direction: &Direction, local: &Snapshot) -> Vec<Request> {
    let of_kind = |kind: &Kind| {
        let synced = local.of_kind(*kind).filter(|r| direction.may_write(&r.owner));
        let versions: HashMap<String, String> = synced
            .map(|r| (format!("{}.{}", r.key.name(), r.key.mesh()), r.version.to_string()))
            .collect();
        Request {
            initial_resource_versions: versions,
            ..messages::subscription(direction, kind.name())
        }
    };
    direction.kinds().iter().map(of_kind).collect()
}

impl Staged {
    pub(crate) fn add(&mut self, response: Response) -> Result<(), ReceiveError> {
        self.add_within(response, MAX_STAGED_BYTES)
    }

    pub(crate) fn add_within(
        &mut self,
        response: Response,
        limit: usize,
    ) -> Result<(), ReceiveError> {
        self.bytes += response.encoded_len();
        if self.bytes > limit {
            return Err(ReceiveError::TooLarge { limit });
        }
        let (entries, removed) = self.by_type.entry(response.type_url).or_default();
        entries.extend(response.resources);
        removed.extend(response.removed_resources);
        Ok(())
    }

    pub(crate) fn entries(&self) -> u32 {
        let count: usize = self.by_type.values().map(|(put, gone)| put.len() + gone.len()).sum();
        u32::try_from(count).unwrap_or(u32::MAX)
    }

    /// Decodes and checks every entry. A refused one keeps its last accepted value; nothing that
    /// another owner has here is overwritten or removed.
    pub(crate) fn judge(
        mut self,
        direction: &Direction,
        local: &Snapshot,
        absence: Absence,
    ) -> Judged {
        let mut judged = Judged::default();
        if absence == Absence::RemovesAll {
            for kind in direction.kinds() {
                self.by_type.entry(kind.name().to_owned()).or_default();
            }
        }
        for (type_url, (entries, names)) in self.by_type {
            let kind = type_url.parse::<Kind>().ok().filter(|k| direction.kinds().contains(k));
            let Some(kind) = kind else {
                judged.refuse_type(&type_url, &entries);
                continue;
            };
            let before = judged.refused.len();
            let mut named = BTreeSet::new();
            for entry in entries {
                named.extend(split_entry_name(kind, &entry.name));
                match accepted(direction, kind, &entry, local) {
                    Ok(resource) => {
                        named.insert(resource.key.clone());
                        judged.upserts.push(resource);
                    }
                    Err(reason) => judged.refuse(kind.name(), &entry, &reason),
                }
            }
            let removed = names.iter().filter_map(|name| split_entry_name(kind, name).ok());
            judged.removed.extend(removed.filter(|key| may_remove(direction, key, local)));
            // A refused entry may have a name that says nothing: then none is missing for sure.
            let removes = match absence {
                Absence::SaysNothing => false,
                Absence::Removes => !named.is_empty(),
                Absence::RemovesAll => true,
            };
            if removes && judged.refused.len() == before {
                let here = local.of_kind(kind).filter(|r| direction.may_write(&r.owner));
                let absent = here.filter(|r| !named.contains(&r.key)).map(|r| r.key.clone());
                judged.removed.extend(absent);
            }
        }
        judged
    }
}

impl Judged {
    fn refuse(&mut self, type_name: &str, entry: &Entry, reason: &str) {
        let (name, mesh) = entry.name.rsplit_once('.').unwrap_or((&entry.name, ""));
        let short = |text: &str| text.chars().take(MAX_REASON_CHARS).collect::<String>();
        self.refused.push(Verdict {
            r#type: short(type_name),
            mesh: short(mesh),
            name: short(name),
            version: short(&entry.version),
            reason: short(reason),
        });
    }

    fn refuse_type(&mut self, type_name: &str, entries: &[Entry]) {
        for entry in entries {
            self.refuse(type_name, entry, "this type is not received here");
        }
    }
}

fn accepted(
    direction: &Direction,
    kind: Kind,
    entry: &Entry,
    local: &Snapshot,
) -> Result<Resource, String> {
    let resource = wire::decode(direction, kind, entry)?;
    // What an inventory and a removal name is the entry's name: it must be the resource's.
    let named = format!("{}.{}", resource.key.name(), resource.key.mesh());
    if entry.name != named {
        return Err(format!("the entry is named {:?} but holds {named:?}", entry.name));
    }
    match local.get(&resource.key) {
        Some(here) if !direction.may_write(&here.owner) => {
            Err(format!("the name is taken here by a resource of {}", here.owner))
        }
        _ => Ok(resource),
    }
}

fn may_remove(direction: &Direction, key: &Key, local: &Snapshot) -> bool {
    local.get(key).is_none_or(|here| direction.may_write(&here.owner))
}
