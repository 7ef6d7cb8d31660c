use super::*;

const MINE: Identity = Identity { cluster: ClusterId(0xabc), node: 2 };

fn locked() -> (tempfile::TempDir, DataFolder) {
    let temp = tempfile::tempdir().unwrap();
    let folder = DataFolder::lock(temp.path()).unwrap();
    (temp, folder)
}

#[test]
fn a_claimed_folder_keeps_its_owner() {
    let (temp, folder) = locked();
    assert_eq!(folder.identity(2).unwrap(), None);
    folder.claim(&MINE).unwrap();
    folder.claim(&MINE).unwrap();
    drop(folder);
    let folder = DataFolder::lock(temp.path()).unwrap();
    assert_eq!(folder.identity(2).unwrap(), Some(MINE));
    assert!(!folder.had_log().unwrap());
    folder.note_log(&MINE).unwrap();
    assert!(folder.had_log().unwrap());
    assert_eq!(folder.identity(2).unwrap(), Some(MINE));
    assert_eq!(
        fs::read_to_string(temp.path().join("identity")).unwrap(),
        "{\"format\":1,\"cluster\":\"00000000000000000000000000000abc\",\"node\":2,\"log\":true}\n"
    );
}

#[test]
fn a_folder_of_another_node_or_cluster_is_refused() {
    let (temp, folder) = locked();
    folder.claim(&MINE).unwrap();
    let path = temp.path().display();
    assert_eq!(
        folder.identity(1).unwrap_err().to_string(),
        format!(
            "the data folder {path} belongs to node 2 of cluster \
             00000000000000000000000000000abc, but this process is configured as node 1. Start it \
             with the folder of its own node, or with an empty folder if it never had one"
        )
    );
    let other = Identity { cluster: ClusterId(1), ..MINE };
    let error = folder.claim(&other).unwrap_err().to_string();
    assert!(error.contains("but this process is node 2 of cluster 0000000000000000"), "{error}");
    assert_eq!(folder.identity(2).unwrap(), Some(MINE));
}

#[test]
fn a_second_process_is_kept_out() {
    let (temp, folder) = locked();
    let clone = folder.clone();
    drop(folder);
    let error = DataFolder::lock(temp.path()).unwrap_err().to_string();
    let path = temp.path().display();
    assert_eq!(
        error,
        format!(
            "the data folder {path} is in use: another process holds its lock. Stop that process, \
             or give this one a folder of its own"
        )
    );
    drop(clone);
    DataFolder::lock(temp.path()).unwrap();
}

#[test]
fn an_unreadable_identity_is_refused() {
    let (temp, folder) = locked();
    let refusal = |text: &str| {
        fs::write(temp.path().join("identity"), text).unwrap();
        folder.identity(2).unwrap_err().to_string()
    };
    let error = refusal("{\"format\":2,\"node\":\"b\"}");
    assert!(error.contains("has format 2, this program knows format 1"), "{error}");
    for damaged in
        ["", "{}", "{\"format\":1}", "{\"format\":1,\"cluster\":\"x\",\"node\":2,\"log\":true}"]
    {
        let error = refusal(damaged);
        assert!(error.contains("cannot be read as an identity"), "{damaged}: {error}");
    }
}

#[test]
fn a_log_without_an_identity_is_refused() {
    let (_temp, folder) = locked();
    fs::write(folder.log_path().unwrap().join("0000000000000001.wal"), "").unwrap();
    let error = folder.claim(&MINE).unwrap_err().to_string();
    assert!(error.contains("holds a log but no identity file"), "{error}");
}
