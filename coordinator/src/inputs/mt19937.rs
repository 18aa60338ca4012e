//! CPython's `random.Random`, as far as the references draw with it: seeding by an integer and `randint`.
//!
//! The Mersenne Twister MT19937 of Matsumoto and Nishimura (1998) with CPython's seeding (`init_by_array` over the seed's 32-bit
//! limbs) and CPython's rejection by bits in `_randbelow`. The same seed gives the same windows as the references' Python.

const N: usize = 624;
const M: usize = 397;

/// A generator; what it gives depends on the seed alone.
pub(super) struct Mt19937 {
    state: [u32; N],
    index: usize,
}

impl Mt19937 {
    /// As `random.seed(seed)`.
    pub(super) fn new(seed: u64) -> Self {
        let limbs = [seed as u32, (seed >> 32) as u32];
        // CPython takes as many limbs as the number has, and one for zero.
        Self::by_array(if limbs[1] == 0 { &limbs[..1] } else { &limbs })
    }

    fn by_array(key: &[u32]) -> Self {
        let mut mt = Self::by_number(19_650_218);
        let s = &mut mt.state;
        let (mut i, mut j) = (1, 0);
        for _ in 0..N.max(key.len()) {
            s[i] = (s[i] ^ (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_664_525))
                .wrapping_add(key[j])
                .wrapping_add(j as u32);
            i += 1;
            j += 1;
            if i >= N {
                s[0] = s[N - 1];
                i = 1;
            }
            if j >= key.len() {
                j = 0;
            }
        }
        for _ in 0..N - 1 {
            s[i] = (s[i] ^ (s[i - 1] ^ (s[i - 1] >> 30)).wrapping_mul(1_566_083_941)).wrapping_sub(i as u32);
            i += 1;
            if i >= N {
                s[0] = s[N - 1];
                i = 1;
            }
        }
        s[0] = 0x8000_0000;
        mt
    }

    fn by_number(seed: u32) -> Self {
        let mut state = [0u32; N];
        state[0] = seed;
        for i in 1..N {
            state[i] =
                1_812_433_253u32.wrapping_mul(state[i - 1] ^ (state[i - 1] >> 30)).wrapping_add(i as u32);
        }
        Self { state, index: N }
    }

    fn twist(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let magic = if y & 1 == 1 { 0x9908_b0df } else { 0 };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ magic;
        }
        self.index = 0;
    }

    fn next_u32(&mut self) -> u32 {
        if self.index >= N {
            self.twist();
        }
        let mut y = self.state[self.index];
        self.index += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    /// As `random.randint(0, below - 1)`: uniform in `0..below`.
    ///
    /// # Panics
    /// If `below` is 0: a bug in the caller, who knows how much data there is.
    pub(super) fn below(&mut self, below: usize) -> usize {
        assert!(below > 0, "nothing can be drawn below 0");
        let bits = usize::BITS - below.leading_zeros();
        loop {
            let drawn = self.bits(bits);
            if drawn < below as u64 {
                return drawn as usize;
            }
        }
    }

    /// As `random.getrandbits(bits)` for 1 to 64 bits: the first word is the lowest.
    fn bits(&mut self, bits: u32) -> u64 {
        if bits <= 32 {
            return u64::from(self.next_u32() >> (32 - bits));
        }
        let low = u64::from(self.next_u32());
        low | u64::from(self.next_u32() >> (64 - bits)) << 32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(seed: u64, below: usize, n: usize) -> Vec<usize> {
        let mut mt = Mt19937::new(seed);
        (0..n).map(|_| mt.below(below)).collect()
    }

    #[test]
    fn draws_equal_cpythons_randint() {
        // Oracle: CPython 3.11, random.seed(s); random.randint(0, L - seqlen - 1).
        assert_eq!(draws(0, 341_469 - 2048, 5), [201_979, 220_500, 21_225, 135_746, 268_055]);
        assert_eq!(draws(0, 2_500_000 - 2048, 5), [1_615_835, 1_764_005, 169_803, 1_085_975, 2_144_441]);
        assert_eq!(draws(42, 2_500_000 - 2048, 3), [466_956, 104_902, 1_153_556]);
    }

    #[test]
    fn a_seed_of_two_limbs_equals_cpythons() {
        // Oracle: CPython 3.11, random.seed(2**40 + 7); [random.randint(0, 999) for _ in range(4)].
        assert_eq!(draws((1 << 40) + 7, 1000, 4), [628, 765, 834, 960]);
    }
}
