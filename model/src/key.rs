//! What names a resource.

use std::cmp::Ordering;
use std::fmt;
use std::hash::{Hash, Hasher};
use std::sync::Arc;

use crate::Kind;

/// Kind, mesh and name of a resource; `mesh` is empty for kinds of global scope.
///
/// A key is kept many times (map, version index, deltas, subscriptions), so its text is one shared
/// string: mesh, then name.
#[derive(Clone)]
pub struct Key {
    kind: Kind,
    mesh_bytes: u32,
    text: Arc<str>,
}

impl Key {
    pub fn new(kind: Kind, mesh: &str, name: &str) -> Self {
        let mesh_bytes = u32::try_from(mesh.len()).expect("invariant: names are bounded");
        Self { kind, mesh_bytes, text: [mesh, name].concat().into() }
    }

    /// The key of a mesh itself.
    pub fn mesh_resource(name: &str) -> Self {
        Self::new(Kind::Mesh, "", name)
    }

    pub fn kind(&self) -> Kind {
        self.kind
    }

    pub fn mesh(&self) -> &str {
        &self.text[..self.mesh_bytes as usize]
    }

    pub fn name(&self) -> &str {
        &self.text[self.mesh_bytes as usize..]
    }

    fn parts(&self) -> (Kind, &str, &str) {
        (self.kind, self.mesh(), self.name())
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.parts() == other.parts()
    }
}

impl Eq for Key {}

impl PartialOrd for Key {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Key {
    fn cmp(&self, other: &Self) -> Ordering {
        self.parts().cmp(&other.parts())
    }
}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.parts().hash(state);
    }
}

impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.parts() {
            (kind, "", name) => write!(f, "{kind} {name}"),
            (kind, mesh, name) => write!(f, "{kind} {name} of mesh {mesh}"),
        }
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (kind, mesh, name) = self.parts();
        write!(f, "{kind}/{mesh}/{name}")
    }
}
