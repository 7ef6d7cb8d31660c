use std::time::Duration;

use super::*;
use crate::pki::{Authority, Issued, Subject};

const DAY: Duration = Duration::from_hours(24);

fn issued(ca: &Authority) -> Issued {
    let subject = Subject { dns: vec!["global".into()], ..Subject::default() };
    ca.issue(&subject, DAY).expect("issue")
}

#[test]
fn material_is_validated_with_the_file_named() {
    let folder = tempfile::tempdir().expect("tempdir");
    let ca = Authority::generate("ca", DAY).expect("ca");
    let (own, other) = (issued(&ca), issued(&ca));
    let file = |name: &str, text: &str| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).expect("write");
        path
    };
    let paths = TransportPaths {
        ca: file("ca.pem", ca.certificate_pem()),
        cert: file("cert.pem", &own.certificate_pem),
        key: file("key.pem", &own.key_pem),
    };
    Transport::load(&paths).expect("good material");

    struct Case {
        paths: TransportPaths,
        want: &'static [&'static str],
    }
    let cases = [
        Case {
            paths: TransportPaths { ca: folder.path().join("gone.pem"), ..paths.clone() },
            want: &["cannot read the CA file", "gone.pem", "No such file"],
        },
        Case {
            paths: TransportPaths { ca: file("empty.pem", ""), ..paths.clone() },
            want: &["the CA file", "empty.pem", "-----BEGIN CERTIFICATE-----"],
        },
        Case {
            paths: TransportPaths { cert: paths.key.clone(), ..paths.clone() },
            want: &["the certificate file", "key.pem", "-----BEGIN CERTIFICATE-----"],
        },
        Case {
            paths: TransportPaths { key: paths.cert.clone(), ..paths.clone() },
            want: &["the key file", "cert.pem", "-----BEGIN PRIVATE KEY-----"],
        },
        Case {
            paths: TransportPaths { key: file("other.pem", &other.key_pem), ..paths.clone() },
            want: &["cert.pem", "other.pem", "the key must be the one"],
        },
    ];
    for case in cases {
        let error = Transport::load(&case.paths).expect_err(case.want[0]).to_string();
        for want in case.want {
            assert!(error.contains(want), "`{error}` lacks `{want}`");
        }
    }
}

#[test]
fn debug_shows_no_key() {
    let ca = Authority::generate("ca", DAY).expect("ca");
    let own = issued(&ca);
    let transport = Transport::from_pem(ca.certificate_pem(), &own.certificate_pem, &own.key_pem);
    assert_eq!(format!("{:?}", transport.expect("good")), "Transport { certificates: 1, .. }");
}

#[test]
fn plaintext_needs_loopback() {
    let addr = |text: &str| text.parse::<SocketAddr>().expect("address");
    let loopback = [addr("127.0.0.1:1"), addr("127.4.5.6:2"), addr("[::1]:3")];
    assert!(plaintext_allowed(&loopback).is_ok());
    assert!(plaintext_allowed(&[addr("[::ffff:127.0.0.1]:1")]).is_ok());
    for other in ["0.0.0.0:5681", "10.0.0.1:5681", "[::]:5681"] {
        let error = plaintext_allowed(&[loopback[0], addr(other)]).expect_err(other).to_string();
        assert!(error.starts_with(&format!("{other} is not a loopback address")), "{error}");
    }
}
