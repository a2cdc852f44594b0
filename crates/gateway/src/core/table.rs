//! Things with numbers that are used again, told apart by a generation: a late event never meets the next owner of its
//! number.

use slab::Slab;

/// The number of a thing, good for this thing alone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Key {
    /// Its place; used again.
    pub(crate) index: u32,
    /// Counts up with every thing.
    pub(crate) generation: u32,
}

impl Key {
    /// Nobody.
    pub(crate) const NONE: Self = Self { index: u32::MAX, generation: 0 };
}

pub(crate) struct Table<T> {
    slots: Slab<(u32, T)>,
    generation: u32,
}

impl<T> Table<T> {
    pub(crate) fn new() -> Self {
        Self { slots: Slab::new(), generation: 0 }
    }

    pub(crate) fn insert(&mut self, thing: T) -> Key {
        self.generation = self.generation.wrapping_add(1) & 0x3fff_ffff;
        let index = self.slots.insert((self.generation, thing)) as u32;
        Key { index, generation: self.generation }
    }

    #[inline]
    pub(crate) fn get(&self, key: Key) -> Option<&T> {
        self.slots.get(key.index as usize).filter(|slot| slot.0 == key.generation).map(|slot| &slot.1)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, key: Key) -> Option<&mut T> {
        self.slots.get_mut(key.index as usize).filter(|slot| slot.0 == key.generation).map(|slot| &mut slot.1)
    }

    pub(crate) fn remove(&mut self, key: Key) -> Option<T> {
        self.get(key)?;
        Some(self.slots.remove(key.index as usize).1)
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = (Key, &T)> {
        self.slots.iter().map(|(index, slot)| (Key { index: index as u32, generation: slot.0 }, &slot.1))
    }

    pub(crate) fn keys(&self) -> Vec<Key> {
        self.iter().map(|(key, _)| key).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_good_for_one_thing_alone() {
        let mut table = Table::new();
        let one = table.insert("one");
        assert_eq!(table.remove(one), Some("one"));
        let two = table.insert("two");
        assert_eq!((one.index, table.get(one), table.get(two)), (two.index, None, Some(&"two")));
        assert_eq!(table.remove(one), None);
    }
}
