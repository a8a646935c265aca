//! Vectors that begin at a cache line.

use std::fmt;
use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector registers.
const LINE: usize = 64;

/// A vector of fixed length whose first element begins a cache line.
///
/// Where rows are a multiple of 64 bytes long, no vector load or store of the inner loops then
/// touches two lines.
pub struct Aligned<F> {
    /// More than needed, so that there is a line's beginning within it.
    memory: Vec<F>,
    start: usize,
    len: usize,
}

impl<F: Copy + Default> Aligned<F> {
    /// `len` times the default of `F`, which is zero for numbers.
    #[must_use]
    pub fn zeros(len: usize) -> Self {
        let spare = LINE / size_of::<F>();
        let memory = vec![F::default(); len + spare];
        // An allocator that gives no answer costs speed, nothing else.
        let start = match memory.as_ptr().align_offset(LINE) {
            start if start <= spare => start,
            _ => 0,
        };
        Self { memory, start, len }
    }
}

impl<F: Copy + Default> From<&[F]> for Aligned<F> {
    fn from(values: &[F]) -> Self {
        let mut copy = Self::zeros(values.len());
        copy.copy_from_slice(values);
        copy
    }
}

impl<F: Copy + Default> FromIterator<F> for Aligned<F> {
    fn from_iter<I: IntoIterator<Item = F>>(values: I) -> Self {
        Self::from(values.into_iter().collect::<Vec<F>>().as_slice())
    }
}

impl<F: Copy + Default> Clone for Aligned<F> {
    fn clone(&self) -> Self {
        Self::from(&**self)
    }
}

impl<F> Deref for Aligned<F> {
    type Target = [F];

    fn deref(&self) -> &[F] {
        &self.memory[self.start..self.start + self.len]
    }
}

impl<F> DerefMut for Aligned<F> {
    fn deref_mut(&mut self) -> &mut [F] {
        &mut self.memory[self.start..self.start + self.len]
    }
}

impl<F: PartialEq> PartialEq for Aligned<F> {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl<F: PartialEq, const N: usize> PartialEq<[F; N]> for Aligned<F> {
    fn eq(&self, other: &[F; N]) -> bool {
        **self == *other
    }
}

impl<F: fmt::Debug> fmt::Debug for Aligned<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_element_begins_a_line_whatever_the_length() {
        for len in [0, 1, 15, 16, 17, 100_000] {
            let mut values = Aligned::<f32>::zeros(len);
            values.iter_mut().enumerate().for_each(|(i, value)| *value = i as f32);
            for copy in [values.clone(), Aligned::from(&*values), values.iter().copied().collect()]
            {
                assert_eq!(copy.as_ptr().addr() % LINE, 0);
                assert_eq!(copy, values);
                assert_eq!(copy.len(), len);
            }
        }
        assert_eq!(Aligned::from([1.0f64, 2.0].as_slice()), [1.0, 2.0]);
    }
}
