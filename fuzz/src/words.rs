//! Bytes → choices, where pure bytes would not get past a parser. The same bytes always give the same choices; when they
//! end, the choices are the first.

use arbitrary::Unstructured;
use espalier_proto::ids::Digest;

/// Choices.
pub struct Words<'b>(Unstructured<'b>);

impl<'b> Words<'b> {
    /// From an input's bytes.
    pub fn new(bytes: &'b [u8]) -> Self {
        Self(Unstructured::new(bytes))
    }

    /// A number below `n`, which is not 0.
    pub fn below(&mut self, n: usize) -> usize {
        self.0.int_in_range(0..=n - 1).unwrap_or(0)
    }

    /// True one time in `n`.
    pub fn one_in(&mut self, n: usize) -> bool {
        self.below(n) == n - 1
    }

    /// Any number, small ones and those at the ends of ranges more often.
    pub fn number(&mut self) -> u64 {
        match self.below(8) {
            0..=3 => self.below(16) as u64,
            4 => u64::MAX - self.below(4) as u64,
            5 => (1 << 32) - 2 + self.below(4) as u64,
            6 => (1 << 63) - 2 + self.below(4) as u64,
            _ => self.0.arbitrary().unwrap_or(0),
        }
    }

    /// One of these.
    pub fn of<'w>(&mut self, words: &[&'w str]) -> &'w str {
        words[self.below(words.len())]
    }

    /// A short text.
    pub fn text(&mut self) -> String {
        let length = self.below(6);
        (0..length)
            .map(|_| if self.one_in(8) { self.letter() } else { (b'a' + self.below(26) as u8).into() })
            .collect()
    }

    fn letter(&mut self) -> char {
        self.0.arbitrary().unwrap_or('a')
    }

    /// Whether bytes are left.
    pub fn go_on(&self) -> bool {
        !self.0.is_empty()
    }

    /// What is left.
    pub fn rest(self) -> &'b [u8] {
        self.0.take_rest()
    }
}

/// One of a few digests.
pub fn digest(n: u8) -> Digest {
    Digest::of(&[n])
}
