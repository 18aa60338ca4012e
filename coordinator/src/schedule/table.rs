//! A map that is looked up by hash and read in the order of its keys: what is found costs one look, and no order of chance can
//! reach a command.

#![expect(clippy::disallowed_types, reason = "it is read in the order of its keys")]

use std::collections::{BTreeSet, HashMap};
use std::hash::{BuildHasherDefault, Hash, Hasher};
use std::ops::Index;

/// Multiplies and rotates. Keys are digests, names and numbers of this cluster's own: nobody chooses them to collide.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Mix(u64);

impl Hasher for Mix {
    fn write(&mut self, bytes: &[u8]) {
        for chunk in bytes.chunks(8) {
            let mut word = [0; 8];
            word[..chunk.len()].copy_from_slice(chunk);
            self.write_u64(u64::from_le_bytes(word));
        }
    }

    fn write_u64(&mut self, word: u64) {
        self.0 = (self.0.rotate_left(5) ^ word).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    }

    fn write_usize(&mut self, word: usize) {
        self.write_u64(word as u64);
    }

    fn write_u8(&mut self, byte: u8) {
        self.write_u64(byte.into());
    }

    fn finish(&self) -> u64 {
        self.0 ^ (self.0 >> 29)
    }
}

/// The map.
#[derive(Clone, Debug)]
pub(super) struct Table<K, V> {
    found: HashMap<K, V, BuildHasherDefault<Mix>>,
    order: BTreeSet<K>,
}

/// What is only ever looked up: it has no order at all.
#[derive(Clone, Debug)]
pub(super) struct Lookup<K, V>(HashMap<K, V, BuildHasherDefault<Mix>>);

impl<K, V> Default for Lookup<K, V> {
    fn default() -> Self {
        Self(HashMap::default())
    }
}

impl<K: Hash + Eq, V> Lookup<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.0.get(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        self.0.insert(key, value);
    }
}

impl<K: Hash + Eq, V> Index<&K> for Lookup<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        &self.0[key]
    }
}

impl<K, V> Default for Table<K, V> {
    fn default() -> Self {
        Self { found: HashMap::default(), order: BTreeSet::new() }
    }
}

impl<K: Ord + Hash + Clone, V> Table<K, V> {
    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.found.get(key)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.found.get_mut(key)
    }

    pub(super) fn contains_key(&self, key: &K) -> bool {
        self.found.contains_key(key)
    }

    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.found.insert(key.clone(), value).is_none() {
            self.order.insert(key);
        }
    }

    pub(super) fn get_or_insert_with(&mut self, key: &K, value: impl FnOnce() -> V) -> &mut V {
        if !self.found.contains_key(key) {
            self.insert(key.clone(), value());
        }
        self.found.get_mut(key).expect("it is there by now")
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        let value = self.found.remove(key)?;
        self.order.remove(key);
        Some(value)
    }

    pub(super) fn len(&self) -> usize {
        self.found.len()
    }

    pub(super) fn keys(&self) -> impl Iterator<Item = &K> {
        self.order.iter()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (&K, &V)> {
        self.order.iter().map(|key| (key, &self.found[key]))
    }

    /// For counting: in no order.
    pub(super) fn each(&self) -> impl Iterator<Item = &V> {
        self.found.values()
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        self.iter().map(|(_, value)| value)
    }
}

impl<K: Hash + Eq, V> Index<&K> for Table<K, V> {
    type Output = V;

    fn index(&self, key: &K) -> &V {
        &self.found[key]
    }
}
