//! Where the things of a run are.

use std::path::PathBuf;

/// The run's folder, as far as processes know it.
#[derive(Debug, Clone)]
pub(crate) struct Folders {
    pub(crate) run: PathBuf,
}

impl Folders {
    pub(crate) fn logs(&self) -> PathBuf {
        self.run.join("logs")
    }

    pub(crate) fn pki(&self) -> PathBuf {
        self.run.join("pki")
    }

    /// What proxies are told of themselves, and their Envoys' files.
    pub(crate) fn proxies(&self) -> PathBuf {
        self.run.join("proxies")
    }

    /// Where the nodes' file systems are mounted.
    pub(crate) fn mounts(&self) -> PathBuf {
        self.run.join("disks")
    }

    pub(crate) fn images(&self) -> PathBuf {
        self.run.join("images")
    }

    /// What [`crate::cluster::Cluster::keep_copy`] keeps.
    pub(crate) fn copies(&self) -> PathBuf {
        self.run.join("copies")
    }

    /// What the clocks of nodes show.
    pub(crate) fn clocks(&self) -> PathBuf {
        self.run.join("clocks")
    }

    /// What became of syncs that were held.
    pub(crate) fn traces(&self) -> PathBuf {
        self.run.join("traces")
    }

    /// All that is made for the run and removed after it. Logs stay.
    pub(crate) fn passing(&self) -> [PathBuf; 7] {
        let (mounts, images, copies) = (self.mounts(), self.images(), self.copies());
        [self.pki(), self.proxies(), mounts, images, copies, self.clocks(), self.traces()]
    }

    /// A node's data folder. Below the mount: `lost+found` is no business of the program's.
    pub(crate) fn data(&self, node: &str) -> PathBuf {
        self.mounts().join(node).join("data")
    }

    pub(crate) fn ca(&self) -> PathBuf {
        self.pki().join("ca.pem")
    }

    /// Certificate and key of a node.
    pub(crate) fn certificate(&self, node: &str) -> (PathBuf, PathBuf) {
        (self.pki().join(format!("{node}.pem")), self.pki().join(format!("{node}-key.pem")))
    }

    pub(crate) fn tls(&self, node: &str) -> Vec<String> {
        let (certificate, key) = self.certificate(node);
        let flags = [("--tls-ca", self.ca()), ("--tls-cert", certificate), ("--tls-key", key)];
        flags
            .iter()
            .flat_map(|(flag, path)| [(*flag).to_owned(), path.display().to_string()])
            .collect()
    }
}
