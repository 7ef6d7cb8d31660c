//! A mesh and the secrets of its CA.

use super::*;

fn ca_secrets(version: u64) -> [Resource; 2] {
    let secret = |key: Key| testing::secret(key.mesh(), key.name(), b"pem", Owner::Global, version);
    [secret(ca_certificate_key("default", "ca-1")), secret(ca_private_key_key("default", "ca-1"))]
}

#[test]
fn a_mesh_with_mtls_needs_a_ca() {
    let snapshot = testing::snapshot([]);
    let document = testing::mesh("default").mtls("ca-1").document();
    let mut admitted = put(&snapshot, &Place::Global, document).unwrap();
    let need = Need::BuiltinCa { mesh: "default".to_owned(), backend: "ca-1".to_owned() };
    assert_eq!(admitted.needs, [need]);
    let (cert, key) =
        (ca_certificate_key("default", "ca-1"), ca_private_key_key("default", "ca-1"));
    assert_eq!(cert.name(), "default.ca-builtin-cert-ca-1");
    assert_eq!(key.name(), "default.ca-builtin-key-ca-1");
    let mesh = Key::mesh_resource("default");
    assert_eq!(checks(&admitted), [mesh, cert.clone(), key.clone()].map(Check::Absent));

    admitted.provide_ca("default", "other", b"x", b"y");
    assert_eq!(admitted.transaction.as_ref().unwrap().operations.len(), 1);
    admitted.provide_ca("default", "ca-1", b"cert", b"key");
    assert_eq!(admitted.needs, []);
    let operations = &admitted.transaction.unwrap().operations[1..];
    let put: Vec<_> = operations
        .iter()
        .map(|operation| match operation {
            Operation::Put(draft) => draft.clone(),
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(put.iter().map(|draft| &draft.key).collect::<Vec<_>>(), [&cert, &key]);
    assert!(put.iter().all(|draft| draft.audience == Audience::AllZones));
    assert_eq!(put[1].spec, Spec::Secret(crate::SecretBytes::plain(b"key")));
    assert!(!format!("{put:?}").contains("107"), "a secret is never printed");
}

#[test]
fn a_ca_that_is_there_is_kept() {
    let mesh = testing::mesh("default").resource(Owner::Global, 1);
    let snapshot = testing::snapshot([mesh].into_iter().chain(ca_secrets(2)));
    let document = testing::mesh("default").mtls("ca-1").document();
    let admitted = put(&snapshot, &Place::Global, document).unwrap();
    assert_eq!(admitted.needs, []);
    let expected = [
        Check::Unchanged { key: Key::mesh_resource("default"), modified_at: 1 },
        Check::Exists(ca_certificate_key("default", "ca-1")),
        Check::Exists(ca_private_key_key("default", "ca-1")),
    ];
    assert_eq!(checks(&admitted), expected);
}

#[test]
fn a_lost_half_of_a_ca_is_made_again_even_for_an_identical_mesh() {
    let mesh = || testing::mesh("default").mtls("ca-1");
    let [cert, _] = ca_secrets(2);
    let snapshot = testing::snapshot([mesh().resource(Owner::Global, 1), cert]);
    let admitted = put(&snapshot, &Place::Global, mesh().document()).unwrap();
    assert_eq!(admitted.needs.len(), 1);
    let lost = Check::Absent(ca_private_key_key("default", "ca-1"));
    assert!(checks(&admitted).contains(&lost), "{:?}", checks(&admitted));
}

#[test]
fn the_ca_in_use_never_changes() {
    let on = testing::mesh("default").mtls("ca-1").resource(Owner::Global, 1);
    let snapshot = testing::snapshot([on].into_iter().chain(ca_secrets(2)));
    let other = testing::mesh("default").mtls("ca-2").document();
    let found = invalid(put(&snapshot, &Place::Global, other.clone()).unwrap_err());
    assert_eq!(found[0].0, "mtls.enabledBackend");
    assert!(found[0].1.starts_with("Changing CA when mTLS is enabled is forbidden."), "{found:?}");

    let off = testing::mesh("default").mtls("ca-1").mtls_off();
    assert!(put(&snapshot, &Place::Global, off.clone().document()).is_ok());
    let snapshot = testing::snapshot([off.resource(Owner::Global, 3)]);
    assert!(put(&snapshot, &Place::Global, other).is_ok());
}
