//! The proxies whose ADS streams are open at this control plane.

use std::collections::{BTreeMap, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};

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

/// Processes whose leave is remembered: more than drain at one time. The oldest give way.
const MAX_LEFT: usize = 4096;

/// All of them, as they come and go.
#[derive(Clone)]
pub(crate) struct Live {
    proxies: Arc<watch::Sender<LiveProxies>>,
    /// Processes that said that they leave. Their Envoys drain for a while and may reconnect.
    left: Arc<Mutex<VecDeque<(Key, String)>>>,
}

/// Another process holds the name.
#[derive(Debug, thiserror::Error)]
#[error(
    "{0} is held by another running proxy; stop that one first, or give this one a name of its own"
)]
pub(crate) struct Taken(pub(crate) Key);

impl Live {
    pub(crate) fn new() -> Self {
        let proxies = Arc::new(watch::Sender::new(LiveProxies::new()));
        Self { proxies, left: Arc::default() }
    }

    pub(crate) fn watch(&self) -> watch::Receiver<LiveProxies> {
        self.proxies.subscribe()
    }

    /// Whether a stream of another process holds the name.
    pub(crate) fn is_taken(&self, key: &Key, instance: &str) -> bool {
        self.proxies.borrow().get(key).is_some_and(|held| *held.instance != *instance)
    }

    /// Adds a proxy until the guard is dropped. A stream of the same process gives way: its
    /// Envoy has reconnected. One that was leaving goes on leaving.
    pub(crate) fn enter(&self, key: Key, mut proxy: LiveProxy) -> Result<Presence, Taken> {
        let stream = proxy.stream;
        let entered = self.proxies.send_if_modified(|live| {
            if live.get(&key).is_some_and(|held| held.instance != proxy.instance) {
                return false;
            }
            let left = self.left();
            proxy.leaving |=
                left.iter().any(|(gone, instance)| *gone == key && **instance == *proxy.instance);
            live.insert(key.clone(), proxy);
            true
        });
        if !entered {
            return Err(Taken(key));
        }
        Ok(Presence { live: self.clone(), key, stream })
    }

    /// Marks a proxy as leaving, for good; false: no such process has a stream here now.
    pub(crate) fn leave(&self, key: &Key, instance: &str) -> bool {
        self.remember_left(key, instance);
        let mut held = false;
        self.proxies.send_if_modified(|live| match live.get_mut(key) {
            Some(proxy) if *proxy.instance == *instance => {
                held = true;
                !std::mem::replace(&mut proxy.leaving, true)
            }
            _ => false,
        });
        held
    }

    fn remember_left(&self, key: &Key, instance: &str) {
        let mut left = self.left();
        let one = (key.clone(), instance.to_owned());
        if !left.contains(&one) {
            left.push_back(one);
        }
        if left.len() > MAX_LEFT {
            left.pop_front();
        }
    }

    fn left(&self) -> MutexGuard<'_, VecDeque<(Key, String)>> {
        self.left.lock().expect("invariant: nothing panics while it holds this lock")
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

    /// Whether no newer stream of the same process holds the name.
    pub(crate) fn is_current(&self) -> bool {
        let live = self.live.proxies.borrow();
        live.get(&self.key).is_some_and(|held| held.stream == self.stream)
    }
}

impl Drop for Presence {
    fn drop(&mut self) {
        self.live.proxies.send_if_modified(|live| {
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
        assert!(second.is_current() && !first.is_current());
        drop(first);
        assert!(live.watch().borrow().contains_key(&key), "the newer stream stays");
        assert!(!live.leave(&key, "b") && live.leave(&key, "a"));
        assert!(live.leave(&key, "a"), "asked again, the same answer");
        drop(second);
        assert!(live.watch().borrow().is_empty());
        let again = live.enter(key.clone(), proxy(5, "a")).unwrap();
        assert!(live.watch().borrow()[&key].leaving, "a draining Envoy does not come back");
        drop(again);
        assert!(live.enter(key, proxy(4, "b")).is_ok(), "a dead one's name is taken over");
    }
}
