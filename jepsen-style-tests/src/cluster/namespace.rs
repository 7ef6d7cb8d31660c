//! A network namespace, and how to do something in it. A thread is in one namespace, and what it
//! makes stays there: sockets for good, programs that it starts for as long as they live. So each
//! piece of work gets a thread of its own, which enters the namespace and ends.

use std::fs::File;
use std::io;
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tokio::net::{TcpSocket, TcpStream, UdpSocket};
use tokio::sync::oneshot;

/// An open network namespace. Cheap to clone; it lives as long as somebody holds it.
#[derive(Debug, Clone)]
pub(crate) struct Namespace {
    file: Arc<File>,
    path: PathBuf,
}

impl Namespace {
    /// The one at `path`: `/run/netns/NAME` of `ip netns`, `/proc/PID/ns/net` of a process.
    pub(crate) fn open(path: &Path) -> io::Result<Self> {
        Ok(Self { file: Arc::new(File::open(path)?), path: path.to_owned() })
    }

    /// Runs `work` in the namespace and waits for it; blocks.
    pub(crate) fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> io::Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| {
                self.enter()?;
                Ok(work())
            });
            thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
        })
    }

    /// A connection to `to`, made in the namespace.
    pub(crate) async fn connect(&self, to: SocketAddr) -> io::Result<TcpStream> {
        let socket = match to {
            SocketAddr::V4(_) => self.make(TcpSocket::new_v4).await?,
            SocketAddr::V6(_) => self.make(TcpSocket::new_v6).await?,
        };
        socket.connect(to).await
    }

    /// A UDP socket in the namespace, connected to `to`.
    pub(crate) async fn udp(&self, to: SocketAddr) -> io::Result<UdpSocket> {
        let from = if to.is_ipv4() { "0.0.0.0:0" } else { "[::]:0" };
        let made = self.make(move || {
            let socket = std::net::UdpSocket::bind(from)?;
            socket.set_nonblocking(true)?;
            Ok(socket)
        });
        let socket = UdpSocket::from_std(made.await?)?;
        socket.connect(to).await?;
        Ok(socket)
    }

    /// As [`Namespace::run`], without blocking.
    async fn make<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let (send, receive) = oneshot::channel();
        let namespace = self.clone();
        std::thread::Builder::new().spawn(move || {
            // Whoever waited may be gone.
            let _ = send.send(namespace.enter().and_then(|()| work()));
        })?;
        receive.await.map_err(io::Error::other)?
    }

    /// Moves this thread. It must not be used for anything else afterwards.
    fn enter(&self) -> io::Result<()> {
        let network = Some(LinkNameSpaceType::Network);
        move_into_link_name_space(self.file.as_fd(), network).map_err(|errno| {
            let path = self.path.display();
            io::Error::new(io::Error::from(errno).kind(), format!("cannot enter {path}: {errno}"))
        })
    }
}
