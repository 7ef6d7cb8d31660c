//! Random numbers that a seed decides: the same on every machine and in every version, so that a
//! seed in a report still says what was done.

/// A stream of numbers (`SplitMix64`).
#[derive(Debug, Clone)]
pub(crate) struct Draw(u64);

impl Draw {
    /// The stream of `seed` for one purpose. Streams of other labels do not depend on how much is
    /// drawn from this one.
    pub(crate) fn new(seed: u64, label: &str) -> Self {
        // FNV-1a: std's hashers may change between versions.
        let hash = label.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
        });
        let mut draw = Self(seed ^ hash);
        draw.next();
        draw
    }

    pub(crate) fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `end`, which is not 0. (The bias is below one in 2^32 for what is drawn here.)
    pub(crate) fn below(&mut self, end: u64) -> u64 {
        assert!(end > 0, "nothing is below 0");
        self.next() % end
    }

    /// From `first` to `last`, both included.
    pub(crate) fn between(&mut self, first: u64, last: u64) -> u64 {
        first + self.below(last - first + 1)
    }

    pub(crate) fn percent(&mut self, of_100: u64) -> bool {
        self.below(100) < of_100
    }

    /// One of `all`; None if there is none.
    pub(crate) fn one<'a, T>(&mut self, all: &'a [T]) -> Option<&'a T> {
        let end = u64::try_from(all.len()).unwrap_or(u64::MAX);
        if end == 0 {
            return None;
        }
        all.get(usize::try_from(self.below(end)).unwrap_or(0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_seed_and_a_label_decide_the_stream() {
        let first = |seed, label| Draw::new(seed, label).next();
        assert_eq!(first(7, "nemesis"), first(7, "nemesis"));
        assert_ne!(first(7, "nemesis"), first(8, "nemesis"));
        assert_ne!(first(7, "nemesis"), first(7, "client-1"));
        // Held down: a seed in an old report has to mean the same.
        assert_eq!(first(7, "nemesis"), 4_120_166_438_586_032_461);
    }

    #[test]
    fn what_is_drawn_is_within_its_bounds_and_reaches_them() {
        let mut draw = Draw::new(1, "");
        let drawn: std::collections::BTreeSet<u64> = (0..200).map(|_| draw.between(3, 6)).collect();
        assert_eq!(drawn.into_iter().collect::<Vec<_>>(), [3, 4, 5, 6]);
        assert_eq!(draw.one::<u8>(&[]), None);
        assert!((0..1000).filter(|_| draw.percent(10)).count() < 200);
    }
}
