//! A set of writes. Their numbers are given out one after the other, so each is one bit.

use crate::redis::WriteId;

#[derive(Clone, Debug, Default)]
pub(super) struct Writes {
    words: Vec<u64>,
}

impl Writes {
    pub(super) fn insert(&mut self, write: WriteId) {
        let (word, bit) = place(write);
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= bit;
    }

    /// What is in both.
    pub(super) fn intersection(mut self, other: &Self) -> Self {
        for (index, word) in self.words.iter_mut().enumerate() {
            *word &= other.words.get(index).copied().unwrap_or(0);
        }
        self
    }

    /// What is in this one and not in the other.
    pub(super) fn without(&self, other: &Self) -> Self {
        let mut rest = self.clone();
        for (word, taken) in rest.words.iter_mut().zip(&other.words) {
            *word &= !taken;
        }
        rest
    }

    /// The lowest number in it.
    pub(super) fn first(&self) -> Option<WriteId> {
        let (index, word) = self.words.iter().enumerate().find(|(_, word)| **word != 0)?;
        Some(index as u64 * 64 + u64::from(word.trailing_zeros()))
    }

    pub(super) fn count(&self) -> u64 {
        self.words.iter().map(|word| u64::from(word.count_ones())).sum()
    }
}

const fn place(write: WriteId) -> (usize, u64) {
    ((write / 64) as usize, 1 << (write % 64))
}

impl<'a> FromIterator<&'a WriteId> for Writes {
    fn from_iter<T: IntoIterator<Item = &'a WriteId>>(writes: T) -> Self {
        let mut set = Self::default();
        set.extend(writes);
        set
    }
}

impl<'a> Extend<&'a WriteId> for Writes {
    fn extend<T: IntoIterator<Item = &'a WriteId>>(&mut self, writes: T) {
        for write in writes {
            self.insert(*write);
        }
    }
}
