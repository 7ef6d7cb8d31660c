//! The proxies whose ADS streams are open at this control plane.

use std::collections::BTreeMap;
use std::sync::Arc;

use higuma_model::{Document, Key, Timestamp};
use tokio::sync::watch;

/// A proxy with an open stream.
#[derive(Debug, Clone)]
pub(crate) struct LiveProxy {
    /// Which stream holds it: an older one may close after a newer opened.
    pub(crate) stream: u64,
    /// Drawn by the proxy's process: tells it from another of the same name.
    pub(crate) instance: Arc<str>,
    /// What it came with.
    pub(crate) document: Arc<Document>,
    pub(crate) connected: Timestamp,
    /// It said that it is leaving: it is taken out of the mesh, its stream goes on.
    pub(crate) leaving: bool,
}

pub(crate) type LiveProxies = BTreeMap<Key, LiveProxy>;

/// All of them, as they come and go.
#[derive(Clone)]
pub(crate) struct Live(Arc<watch::Sender<LiveProxies>>);

/// Another process holds the name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is held by another running proxy; stop that one first, or give this one a name of its own"
)]
pub(crate) struct Taken(pub(crate) Key);

impl Live {
    pub(crate) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(LiveProxies::new())))
    }

    pub(crate) fn watch(&self) -> watch::Receiver<LiveProxies> {
        self.0.subscribe()
    }

    /// Whether a stream of another process holds the name.
    pub(crate) fn is_taken(&self, key: &Key, instance: &str) -> bool {
        self.0.borrow().get(key).is_some_and(|held| *held.instance != *instance)
    }

    /// Adds a proxy until the guard is dropped. A stream of the same process gives way: its
    /// Envoy has reconnected.
    pub(crate) fn enter(&self, key: Key, proxy: LiveProxy) -> Result<Presence, Taken> {
        let stream = proxy.stream;
        let entered = self.0.send_if_modified(|live| {
            if live.get(&key).is_some_and(|held| held.instance != proxy.instance) {
                return false;
            }
            live.insert(key.clone(), proxy);
            true
        });
        if !entered {
            return Err(Taken(key));
        }
        Ok(Presence { live: self.clone(), key, stream })
    }

    /// Marks a proxy as leaving; false: no such process has a stream here.
    pub(crate) fn leave(&self, key: &Key, instance: &str) -> bool {
        self.0.send_if_modified(|live| match live.get_mut(key) {
            Some(held) if *held.instance == *instance && !held.leaving => {
                held.leaving = true;
                true
            }
            _ => false,
        })
    }
}

/// Keeps a proxy among the live ones.
pub(crate) struct Presence {
    live: Live,
    key: Key,
    stream: u64,
}

impl Presence {
    pub(crate) fn key(&self) -> &Key {
        &self.key
    }

    pub(crate) fn stream(&self) -> u64 {
        self.stream
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.live.0.send_if_modified(|live| {
            let own = live.get(&self.key).is_some_and(|held| held.stream == self.stream);
            own && live.remove(&self.key).is_some()
        });
    }
}

#[cfg(test)]
mod tests {
    use higuma_model::testing::dataplane;

    use super::*;

    fn proxy(stream: u64, instance: &str) -> LiveProxy {
        let document = dataplane("web-1").document();
        LiveProxy {
            stream,
            instance: instance.into(),
            document: Arc::new(document),
            connected: Timestamp(0),
            leaving: false,
        }
    }

    #[test]
    fn a_name_is_held_by_one_process_and_its_newest_stream() {
        let (live, key) = (Live::new(), proxy(1, "a").document.key());
        let first = live.enter(key.clone(), proxy(1, "a")).unwrap();
        assert!(live.is_taken(&key, "b") && !live.is_taken(&key, "a"));
        let Err(taken) = live.enter(key.clone(), proxy(2, "b")) else { panic!("two processes") };
        assert!(taken.to_string().contains("held by another running proxy"), "{taken}");

        let second = live.enter(key.clone(), proxy(3, "a")).unwrap();
        drop(first);
        assert!(live.watch().borrow().contains_key(&key), "the newer stream stays");
        assert!(!live.leave(&key, "b") && live.leave(&key, "a"));
        drop(second);
        assert!(live.watch().borrow().is_empty());
        assert!(live.enter(key, proxy(4, "b")).is_ok(), "a dead one's name is taken over");
    }
}
