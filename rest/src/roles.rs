//! What users may do: a file that binds users and groups to meshes and types, to read or to write.
//!
//! ```yaml
//! bindings:
//! - groups: [team-shop]
//!   meshes: [shop]
//!   types: [TrafficPermission, TrafficRoute]
//!   access: write             # and read
//! - groups: ['mesh-system:authenticated']
//!   meshes: ['*']             # and what is in no mesh, such as zones
//!   types: ['*']
//!   access: read
//! ```

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use higuma_model::{Key, Kind, Scope};
use higuma_serve::Tasks;
use serde::Deserialize;
use tokio::sync::watch;
use tokio::time::MissedTickBehavior;

const ALL: &str = "*";

/// A few hundred bytes for each binding.
const MAX_FILE_BYTES: u64 = 1 << 20;
/// Each is looked at with each request.
const MAX_BINDINGS: usize = 1_000;

/// Between two looks at the file, as at TLS files.
const LOOK: Duration = Duration::from_secs(2);

/// Why a file of roles can't be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the roles of {} can't be used: {why}", path.display())]
pub struct BadRoles {
    pub path: PathBuf,
    pub why: String,
}

/// Who is bound to what. Administrators need no binding; whoever has none reads nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Roles {
    bindings: Vec<Binding>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Binding {
    users: Vec<String>,
    groups: Vec<String>,
    /// None: all, and what is in none.
    meshes: Option<Vec<String>>,
    /// None: all.
    kinds: Option<Vec<Kind>>,
    access: Right,
}

/// To write includes to read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Right {
    Read,
    Write,
}

impl Right {
    pub(crate) fn verb(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// Where something is that a right is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Within {
    Mesh(String),
    /// In all meshes, and in none.
    All,
    /// In any mesh: what is shown is chosen later.
    Any,
}

impl Within {
    /// A Mesh is in itself.
    pub(crate) fn of(key: &Key) -> Self {
        match (key.kind(), key.kind().scope()) {
            (Kind::Mesh, _) => Self::Mesh(key.name().to_owned()),
            (_, Scope::Mesh) => Self::Mesh(key.mesh().to_owned()),
            (_, Scope::Global) => Self::All,
        }
    }
}

impl std::fmt::Display for Within {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Mesh(mesh) => write!(f, "in mesh {mesh}"),
            Self::All => f.write_str("in all meshes ('*')"),
            Self::Any => f.write_str("in any mesh"),
        }
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    bindings: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    groups: Vec<String>,
    meshes: Vec<String>,
    types: Vec<String>,
    access: Right,
}

impl Roles {
    /// Reads the text of a file.
    ///
    /// # Errors
    /// In words, what is wrong with it.
    pub fn parse(yaml: &str) -> Result<Self, String> {
        let file: File = serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        if file.bindings.len() > MAX_BINDINGS {
            return Err(format!("it has more than {MAX_BINDINGS} bindings"));
        }
        let binding = |(at, written): (usize, Written)| {
            written.checked().map_err(|why| format!("bindings[{at}]: {why}"))
        };
        let bindings: Result<_, _> = file.bindings.into_iter().enumerate().map(binding).collect();
        Ok(Self { bindings: bindings? })
    }

    pub(crate) fn allow(&self, user: &User<'_>, right: Right, kind: Kind, within: &Within) -> bool {
        self.bindings
            .iter()
            .any(|binding| binding.is_of(user) && binding.allows(right, kind, within))
    }

    /// Whether there is anything that the user may do so.
    pub(crate) fn allow_something(&self, user: &User<'_>, right: Right) -> bool {
        self.bindings.iter().any(|binding| binding.is_of(user) && binding.access >= right)
    }
}

/// Whom a binding may name.
pub(crate) struct User<'a> {
    pub(crate) name: &'a str,
    pub(crate) groups: &'a [Arc<str>],
}

impl Binding {
    fn is_of(&self, user: &User<'_>) -> bool {
        let in_group = |group: &String| user.groups.iter().any(|has| **has == **group);
        self.users.iter().any(|name| name == user.name) || self.groups.iter().any(in_group)
    }

    fn allows(&self, right: Right, kind: Kind, within: &Within) -> bool {
        let in_mesh = match (&self.meshes, within) {
            (None, _) | (Some(_), Within::Any) => true,
            (Some(meshes), Within::Mesh(mesh)) => meshes.contains(mesh),
            (Some(_), Within::All) => false,
        };
        in_mesh
            && self.access >= right
            && self.kinds.as_ref().is_none_or(|kinds| kinds.contains(&kind))
    }
}

impl Written {
    fn checked(self) -> Result<Binding, String> {
        if self.users.is_empty() && self.groups.is_empty() {
            return Err("it names neither users nor groups".to_owned());
        }
        for (field, list) in [("meshes", &self.meshes), ("types", &self.types)] {
            if list.is_empty() {
                return Err(format!("{field} is empty; '*' means all"));
            }
            if list.len() > 1 && list.iter().any(|one| one == ALL) {
                return Err(format!("{field} has '*' beside others; '*' means all"));
            }
        }
        let all = |list: &[String]| list == [ALL];
        let meshes = if all(&self.meshes) { None } else { Some(self.meshes) };
        let kinds = if all(&self.types) {
            None
        } else {
            let kinds: Result<Vec<_>, _> = self.types.iter().map(|name| kind(name)).collect();
            let kinds = kinds?;
            if let (Some(_), Some(kind)) = (&meshes, kinds.iter().find(|kind| is_in_none(**kind))) {
                return Err(format!("a {kind} is in no mesh: bind it with meshes: ['*']"));
            }
            Some(kinds)
        };
        let Self { users, groups, access, .. } = self;
        Ok(Binding { users, groups, meshes, kinds, access })
    }
}

fn is_in_none(kind: Kind) -> bool {
    kind.scope() == Scope::Global && kind != Kind::Mesh
}

fn kind(name: &str) -> Result<Kind, String> {
    match name.parse() {
        Ok(Kind::Secret | Kind::GlobalSecret) => {
            Err(format!("a {name} is shown to nobody and written by nobody"))
        }
        Ok(kind) => Ok(kind),
        Err(error) => Err(format!("{error}")),
    }
}

/// The roles of a file, which is followed while the process runs; without one there are none.
///
/// # Errors
/// A file that can't be used. Later on one that can't be is said in the log, and the roles before
/// stay.
pub fn roles(
    file: Option<&Path>,
    tasks: &mut Tasks,
) -> Result<watch::Receiver<Arc<Roles>>, BadRoles> {
    let Some(path) = file else {
        return Ok(watch::channel(Arc::new(Roles::default())).1);
    };
    let text = read(path)?;
    let roles = parsed(path, &text)?;
    let (roles_in, roles) = watch::channel(Arc::new(roles));
    let (path, stop) = (path.to_owned(), tasks.token());
    tasks.spawn("roles", async move {
        let mut follower = Follower { path, text, trouble: None, roles: roles_in };
        let mut looks = tokio::time::interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = looks.tick() => {}
            }
            // The file may be on a disk that hangs.
            let looked = tokio::task::spawn_blocking(move || {
                follower.look();
                follower
            });
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                looked = looked => follower = looked?,
            }
        }
    });
    Ok(roles)
}

struct Follower {
    path: PathBuf,
    /// What was last looked at and used.
    text: String,
    trouble: Option<BadRoles>,
    roles: watch::Sender<Arc<Roles>>,
}

impl Follower {
    fn look(&mut self) {
        match self.take() {
            Ok(false) => self.trouble = None,
            Ok(true) => {
                self.trouble = None;
                let path = &self.path;
                tracing::info!(?path, "roles changed: new requests go by them");
            }
            Err(error) if self.trouble.as_ref() != Some(&error) => {
                tracing::warn!(%error, "roles changed and can't be used: those before stay");
                self.trouble = Some(error);
            }
            Err(_) => {}
        }
    }

    fn take(&mut self) -> Result<bool, BadRoles> {
        let text = read(&self.path)?;
        if text == self.text {
            return Ok(false);
        }
        let roles = parsed(&self.path, &text)?;
        self.roles.send_replace(Arc::new(roles));
        self.text = text;
        Ok(true)
    }
}

fn read(path: &Path) -> Result<String, BadRoles> {
    let bad = |why: String| BadRoles { path: path.to_owned(), why };
    let size = std::fs::metadata(path).map_err(|error| bad(error.to_string()))?.len();
    if size > MAX_FILE_BYTES {
        return Err(bad(format!("it has more than {MAX_FILE_BYTES} bytes")));
    }
    std::fs::read_to_string(path).map_err(|error| bad(error.to_string()))
}

fn parsed(path: &Path, text: &str) -> Result<Roles, BadRoles> {
    Roles::parse(text).map_err(|why| BadRoles { path: path.to_owned(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    const FILE: &str = "
bindings:
- users: [ann]
  groups: [team-shop]
  meshes: [shop]
  types: [TrafficRoute, Mesh]
  access: write
- groups: [all]
  meshes: ['*']
  types: ['*']
  access: read
- groups: [zones]
  meshes: ['*']
  types: [Zone]
  access: write
";

    fn allowed(who: &str, right: Right, kind: Kind, within: &Within) -> bool {
        let groups = [Arc::from(who)];
        let user = User { name: who, groups: &groups };
        Roles::parse(FILE).unwrap().allow(&user, right, kind, within)
    }

    #[test]
    fn a_binding_allows_what_it_says_and_no_more() {
        use Right::{Read, Write};
        let mesh = |name: &str| Within::Mesh(name.to_owned());
        for (who, right, kind, within, expected) in [
            ("ann", Write, Kind::TrafficRoute, mesh("shop"), true),
            ("team-shop", Write, Kind::TrafficRoute, mesh("shop"), true),
            ("team-shop", Read, Kind::TrafficRoute, mesh("shop"), true),
            ("team-shop", Read, Kind::TrafficRoute, Within::Any, true),
            ("team-shop", Read, Kind::TrafficRoute, Within::All, false),
            ("team-shop", Write, Kind::TrafficRoute, mesh("shop2"), false),
            ("team-shop", Read, Kind::TrafficPermission, mesh("shop"), false),
            ("team-shop", Read, Kind::Zone, Within::All, false),
            ("team", Read, Kind::TrafficRoute, mesh("shop"), false),
            ("all", Read, Kind::Zone, Within::All, true),
            ("all", Read, Kind::Dataplane, mesh("any"), true),
            ("all", Write, Kind::Dataplane, mesh("any"), false),
            ("zones", Write, Kind::Zone, Within::All, true),
            ("zones", Read, Kind::Mesh, Within::Any, false),
            ("nobody", Read, Kind::Mesh, Within::Any, false),
        ] {
            let has = allowed(who, right, kind, &within);
            assert_eq!(has, expected, "{who} {right:?} {kind} {within}");
        }
    }

    #[test]
    fn a_file_is_taken_whole_or_refused_with_the_place() {
        let one = |fields: &str| format!("bindings:\n- {fields}\n");
        for (yaml, why) in [
            ("", "end of input"),
            ("bindings: []\nroles: []\n", "roles"),
            (&one("{meshes: [a], types: [Mesh], access: read}"), "neither users nor groups"),
            (&one("{users: [a], meshes: [], types: [Mesh], access: read}"), "meshes is empty"),
            (&one("{users: [a], meshes: ['*', b], types: [Mesh], access: read}"), "beside others"),
            (&one("{users: [a], meshes: [a], types: [Pod], access: read}"), "unknown type \"Pod\""),
            (&one("{users: [a], meshes: [a], types: [Zone], access: read}"), "is in no mesh"),
            (&one("{users: [a], meshes: ['*'], types: [Secret], access: read}"), "shown to nobody"),
            (&one("{users: [a], meshes: [a], types: [Mesh], access: admin}"), "admin"),
            (&one("{users: [a], meshes: [a], types: [Mesh], access: read, x: 1}"), "x"),
        ] {
            let refused = Roles::parse(yaml).expect_err(yaml);
            assert!(refused.contains(why), "{yaml}: {refused}");
        }
        assert_eq!(Roles::parse("bindings: []\n"), Ok(Roles::default()));
    }

    #[test]
    fn a_changed_file_is_used_and_a_broken_one_left_aside() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("roles.yaml");
        let none = "bindings: []\n";
        std::fs::write(&path, none).unwrap();
        let (roles_in, roles) = watch::channel(Arc::new(Roles::default()));
        let (text, trouble) = (none.to_owned(), None);
        let mut follower = Follower { path: path.clone(), text, trouble, roles: roles_in };
        follower.look();
        assert_eq!(**roles.borrow(), Roles::default());
        std::fs::write(&path, FILE).unwrap();
        follower.look();
        assert_eq!(**roles.borrow(), Roles::parse(FILE).unwrap());
        let breaks: [&dyn Fn(); 2] =
            [&|| std::fs::write(&path, "x").unwrap(), &|| std::fs::remove_file(&path).unwrap()];
        for broken in breaks {
            broken();
            follower.look();
            assert!(follower.trouble.is_some());
            assert_eq!(**roles.borrow(), Roles::parse(FILE).unwrap(), "those before stay");
        }
        std::fs::write(&path, none).unwrap();
        follower.look();
        assert_eq!((**roles.borrow()).clone(), Roles::default());
        assert_eq!(follower.trouble, None);
    }
}
