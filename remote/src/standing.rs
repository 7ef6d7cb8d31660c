//! Whether a data folder is of a zone on its own or of one that follows a global. It is never both:
//! what a zone on its own has written is owned by it, and would be taken for the zone's part of
//! another mesh (`docs/adr/0018-a-standalone-zone-owns-its-meshes.md`).

use std::path::{Path, PathBuf};

use higuma_model::{Author, Key, Owner, Place, Snapshot};

/// The folder is of the other kind. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum StandingError {
    #[error(
        "the data folder {} is of a zone on its own (it has written {key}), and --global was given: \
         start it without --global; or, to make it a zone of that global, apply its manifests there \
         (`higuma get KIND -o yaml`) and start here with an empty --data-dir",
        folder.display()
    )]
    Standalone { folder: PathBuf, key: Key },
    #[error(
        "the data folder {} follows a global (cluster {cluster}), and --global was not given: give \
         the global's addresses, it need not be up; or, for a zone on its own, start with an empty \
         --data-dir",
        folder.display()
    )]
    Follows { folder: PathBuf, cluster: String },
}

/// Refuses a folder that was used in the other way. One without meshes is of neither.
pub(crate) fn check(
    place: &Place,
    snapshot: &Snapshot,
    folder: &Path,
) -> Result<(), StandingError> {
    let folder = folder.to_owned();
    match place {
        Place::Standalone(_) => match snapshot.upstream() {
            Some(upstream) => {
                Err(StandingError::Follows { folder, cluster: upstream.cluster.to_string() })
            }
            None => Ok(()),
        },
        Place::Zone(_) | Place::Global => {
            let written_here = |key: &Key, owner: &Owner| {
                key.kind().info().author == Author::Operator && *owner != Owner::Global
            };
            let mut all = snapshot.iter();
            match all.find(|resource| written_here(&resource.key, &resource.owner)) {
                Some(found) => Err(StandingError::Standalone { folder, key: found.key.clone() }),
                None => Ok(()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use higuma_model::testing::{dataplane, mesh, snapshot};
    use higuma_model::{ClusterId, Upstream};

    use super::*;

    #[test]
    fn a_folder_is_used_in_one_way() {
        let (alone, follows) = (Place::Standalone("east".into()), Place::Zone("east".into()));
        let east = Owner::zone("east");
        let proxy = || dataplane("web-1").tag("kuma.io/service", "web").inbound(80);
        let empty = snapshot([]);
        let standalone = snapshot([
            mesh("default").resource(east.clone(), 1),
            proxy().resource(east.clone(), 2),
        ]);
        let mut following =
            snapshot([mesh("default").resource(Owner::Global, 1), proxy().resource(east, 2)]);
        following.set_upstream(Upstream { cluster: ClusterId(7), epoch: 1, version: 1 }, 3);
        let check = |place: &Place, state: &Snapshot| {
            check(place, state, Path::new("/data")).map_err(|error| error.to_string())
        };
        for place in [&alone, &follows] {
            assert_eq!(check(place, &empty), Ok(()));
        }
        assert_eq!(check(&alone, &standalone), Ok(()));
        assert_eq!(check(&follows, &following), Ok(()));
        let refused = check(&follows, &standalone).expect_err("written here");
        assert!(refused.contains("of a zone on its own") && refused.contains("/data"), "{refused}");
        let refused = check(&alone, &following).expect_err("follows");
        assert!(refused.contains("follows a global (cluster 0"), "{refused}");
    }
}
