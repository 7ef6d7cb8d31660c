//! A lab's certificates: a CA whose key is forgotten at once, and a certificate for each process
//! that others call. For a real cluster the CA's key has to be kept, which this does not do.

use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use clap::Args;
use higuma_serve::pki::{Authority, Described, Subject, write_certificate};

use crate::certificates::{add_address, ca, is_address, issue, of, write};
use crate::failure::Failure;
use crate::output::print;

/// A lab is for days.
const VALIDITY: Duration = Duration::from_hours(24 * 30);
/// More than a lab has processes.
const MAX_HOLDERS: usize = 64;

#[derive(Debug, Args)]
#[command(after_help = "\
Example:
  higuma lab certificates --out pki --holder global-1=10.0.0.1,global-1.internal --holder east=10.1.0.1

Makes pki/ca.pem and, for each holder, pki/NAME.pem and pki/NAME-key.pem, valid for 30 days. If all \
of them are there, nothing is changed; if some are, all are made anew. The CA's key is not kept.")]
pub(super) struct CertificatesArgs {
    /// The folder for them; created if it is not there
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// A process and the addresses that others reach it by, IP or DNS; repeatable
    #[arg(long, value_name = "NAME=ADDR,ADDR", required = true)]
    holder: Vec<Holder>,
}

/// Who gets a certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Holder {
    name: String,
    addresses: Vec<String>,
}

impl FromStr for Holder {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let wrong = || format!("{text:?} is not of the form NAME=ADDR,ADDR");
        // A name is of what an address is of, but without dots and colons.
        let is_name = |word: &str| is_address(word) && !word.contains(['.', ':']);
        let (name, addresses) = text.split_once('=').ok_or_else(wrong)?;
        let addresses: Vec<_> = addresses.split(',').map(str::to_owned).collect();
        if !is_name(name) || !addresses.iter().all(|address| is_address(address)) {
            return Err(wrong());
        }
        Ok(Self { name: name.to_owned(), addresses })
    }
}

impl Holder {
    fn subject(&self) -> Subject {
        let mut subject = Subject { common_name: self.name.clone(), ..Subject::default() };
        for address in &self.addresses {
            add_address(&mut subject, address);
        }
        subject
    }
}

pub(super) fn certificates(args: &CertificatesArgs) -> Result<(), Failure> {
    let mut names: Vec<_> = args.holder.iter().map(|holder| &holder.name).collect();
    names.sort();
    names.dedup();
    // The CA's file has this name.
    if names.len() < args.holder.len() || names.iter().any(|name| *name == "ca") {
        return Err(Failure::usage("--holder: each name once, and none is \"ca\""));
    }
    if names.len() > MAX_HOLDERS {
        return Err(Failure::usage(format!("--holder: at most {MAX_HOLDERS}")));
    }
    let subjects: Vec<_> = args.holder.iter().map(Holder::subject).collect();
    let folder = args.out.display();
    std::fs::create_dir_all(&args.out)
        .map_err(|error| Failure::refused(format!("cannot make {folder}: {error}")))?;
    if make(&args.out, &subjects)? {
        print(format!("made a CA and {} certificates in {folder}", subjects.len()))
    } else {
        print(format!("all certificates are in {folder} already"))
    }
}

/// Makes them, if one is missing or says less of its holder than it should; says whether.
pub(super) fn make(folder: &Path, subjects: &[Subject]) -> Result<bool, Failure> {
    let present = |subject: &Subject| {
        let (certificate, key) = of(folder, &subject.common_name);
        let described = std::fs::read_to_string(certificate);
        let described = described.ok().and_then(|pem| Described::of_pem(&pem).ok());
        let says = |uri| described.as_ref().is_some_and(|said| said.uris.contains(uri));
        key.exists() && described.is_some() && subject.uris.iter().all(says)
    };
    if ca(folder).exists() && subjects.iter().all(present) {
        return Ok(false);
    }
    let failed = |error| Failure::refused(format!("cannot make the lab's certificates: {error}"));
    let authority = Authority::generate("higuma lab", VALIDITY).map_err(failed)?;
    let issued = issue(&authority, subjects, VALIDITY)?;
    write_certificate(&ca(folder), authority.certificate_pem()).map_err(failed)?;
    write(folder, subjects, &issued)?;
    Ok(true)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn holders_are_names_with_addresses() {
        let holder: Holder = "global-1=10.0.0.1,global-1.lab,::1".parse().unwrap();
        let subject = holder.subject();
        assert_eq!(subject.common_name, "global-1");
        assert_eq!(subject.dns, ["global-1.lab"]);
        assert_eq!(
            subject.ips,
            ["10.0.0.1".parse::<std::net::IpAddr>().unwrap(), "::1".parse().unwrap()]
        );
        for wrong in ["", "a", "a=", "=b", "a/b=c", "../a=b", "a=b,", "a=b c"] {
            assert!(wrong.parse::<Holder>().unwrap_err().contains("NAME=ADDR"), "{wrong}");
        }
    }

    #[test]
    fn a_complete_folder_is_left_alone_and_one_with_a_hole_is_made_anew() {
        let folder = tempfile::tempdir().unwrap();
        let out = folder.path().join("new");
        let args = |holders: &[&str]| CertificatesArgs {
            out: out.clone(),
            holder: holders.iter().map(|text| text.parse().unwrap()).collect(),
        };
        certificates(&args(&["a=10.0.0.1", "b=b.lab"])).unwrap();
        let before = std::fs::read(ca(&out)).unwrap();
        certificates(&args(&["a=10.0.0.1", "b=b.lab"])).unwrap();
        assert_eq!(std::fs::read(ca(&out)).unwrap(), before);
        std::fs::remove_file(of(&out, "b").1).unwrap();
        certificates(&args(&["a=10.0.0.1", "b=b.lab"])).unwrap();
        assert_ne!(std::fs::read(ca(&out)).unwrap(), before);
        assert_eq!(std::fs::read_dir(&out).unwrap().count(), 5, "no key of the CA");
        for wrong in [&["a=x", "a=y"][..], &["ca=x"]] {
            assert!(certificates(&args(wrong)).unwrap_err().to_string().contains("each name once"));
        }
    }
}
