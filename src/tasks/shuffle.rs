//! The shuffles that divide pairs into train and test.
//!
//! CPython's is reproduced bit for bit, because the published runs were split by
//! `random.seed(0); random.shuffle(pairs)`.
//!
//! Sources: Matsumoto & Nishimura (1998), *Mersenne Twister*; CPython's documentation and behaviour
//! of `random` (seeding by an array of 32-bit words, rejection sampling of `getrandbits`).

use rand::Rng;
use rand_chacha::ChaCha8Rng;

const N: usize = 624;
const M: usize = 397;

/// The Mersenne Twister MT19937, seeded as CPython seeds it.
#[derive(Debug, Clone)]
pub struct PythonRng {
    state: [u32; N],
    next: usize,
}

impl PythonRng {
    /// `random.seed(seed)` for a whole number; CPython takes its absolute value.
    #[must_use]
    pub fn new(seed: u128) -> Self {
        // The 32-bit words of the seed, least significant first; zero is one word.
        let mut words = vec![(seed & 0xffff_ffff) as u32];
        let mut rest = seed >> 32;
        while rest > 0 {
            words.push((rest & 0xffff_ffff) as u32);
            rest >>= 32;
        }
        Self { state: init_by_array(&words), next: N }
    }

    /// The next 32 random bits.
    pub fn next_u32(&mut self) -> u32 {
        if self.next == N {
            self.refill();
        }
        let mut y = self.state[self.next];
        self.next += 1;
        y ^= y >> 11;
        y ^= (y << 7) & 0x9d2c_5680;
        y ^= (y << 15) & 0xefc6_0000;
        y ^ (y >> 18)
    }

    fn refill(&mut self) {
        for i in 0..N {
            let y = (self.state[i] & 0x8000_0000) | (self.state[(i + 1) % N] & 0x7fff_ffff);
            let twist = if y & 1 == 0 { 0 } else { 0x9908_b0df };
            self.state[i] = self.state[(i + M) % N] ^ (y >> 1) ^ twist;
        }
        self.next = 0;
    }

    /// A uniform number below `bound`, by rejection: `bit_length(bound)` bits at a time. (Of the
    /// bound itself, not of `bound − 1`: powers of two reject half of the draws.)
    fn below(&mut self, bound: u32) -> u32 {
        let bits = u32::BITS - bound.leading_zeros();
        loop {
            let draw = self.next_u32() >> (u32::BITS - bits);
            if draw < bound {
                return draw;
            }
        }
    }

    /// `random.shuffle(items)`.
    ///
    /// # Panics
    /// If there are 2³² items or more.
    pub fn shuffle<T>(&mut self, items: &mut [T]) {
        for i in (1..items.len()).rev() {
            let bound = u32::try_from(i + 1).expect("fewer than 2³² items");
            items.swap(i, self.below(bound) as usize);
        }
    }
}

fn init_by_array(key: &[u32]) -> [u32; N] {
    let mut state = [0u32; N];
    state[0] = 19_650_218;
    for i in 1..N {
        let last = state[i - 1];
        state[i] = 1_812_433_253u32.wrapping_mul(last ^ (last >> 30)).wrapping_add(i as u32);
    }
    let (mut i, mut j) = (1, 0);
    for _ in 0..N.max(key.len()) {
        let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_664_525);
        state[i] = (state[i] ^ mixed).wrapping_add(key[j]).wrapping_add(j as u32);
        i += 1;
        j = (j + 1) % key.len();
        if i == N {
            state[0] = state[N - 1];
            i = 1;
        }
    }
    for _ in 0..N - 1 {
        let mixed = (state[i - 1] ^ (state[i - 1] >> 30)).wrapping_mul(1_566_083_941);
        state[i] = (state[i] ^ mixed).wrapping_sub(i as u32);
        i += 1;
        if i == N {
            state[0] = state[N - 1];
            i = 1;
        }
    }
    state[0] = 0x8000_0000;
    state
}

/// Fisher–Yates, from the last item down, driven by ChaCha8: the rule behind `rng:SEED`.
///
/// Index `i` swaps with `⌊u (i + 1) / 2⁶⁴⌋`, `u` the next 64 random bits; the bias is below
/// `n / 2⁶⁴`.
pub fn fisher_yates<T>(items: &mut [T], rng: &mut ChaCha8Rng) {
    for i in (1..items.len()).rev() {
        let j = (u128::from(rng.next_u64()) * (i as u128 + 1)) >> 64;
        items.swap(i, j as usize);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// From CPython 3.11: `random.seed(s); [random.getrandbits(32) for _ in range(2)]`.
    #[test]
    fn first_words_are_those_of_cpython() {
        for (seed, expected) in [(0, 3_626_764_237), (1, 577_090_037)] {
            assert_eq!(PythonRng::new(seed).next_u32(), expected);
        }
        let mut rng = PythonRng::new(0);
        rng.next_u32();
        assert_eq!(rng.next_u32(), 1_654_615_998);
    }

    /// From CPython 3.11: `x = list(range(25)); random.seed(0); random.shuffle(x)`.
    #[test]
    fn shuffle_is_that_of_cpython() {
        let mut items: Vec<u32> = (0..25).collect();
        PythonRng::new(0).shuffle(&mut items);
        let expected = [
            14, 0, 23, 18, 6, 5, 7, 10, 22, 20, 4, 2, 21, 3, 17, 11, 19, 9, 24, 15, 16, 8, 1, 13,
            12,
        ];
        assert_eq!(items, expected);
    }

    /// From CPython 3.11: `random.seed(2**70 + 3); random.getrandbits(32)`: a seed of three words.
    #[test]
    fn long_seeds_use_all_their_words() {
        assert_eq!(PythonRng::new((1 << 70) + 3).next_u32(), 701_776_502);
    }
}
