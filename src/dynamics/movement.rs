//! Distances between the weights of one run at different steps.

use std::ops::{Add, Range};

use crate::linalg::kernels::dot;

/// Terms that are summed one after the other; above, sums are added in pairs.
const BLOCK: usize = 1024;

/// Sums over some parameters, from which their [`Movement`] follows. Those of two groups of
/// parameters add up to those of both together; what one of them lacks, the sum lacks.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sums {
    /// `Σ (θ_t − θ_0)²`
    pub from_init: Option<f64>,
    /// `Σ (θ_t − θ_prev)²`
    pub from_previous: Option<f64>,
    /// `Σ (θ_T − θ_t)²`
    pub to_final: Option<f64>,
    /// Of the steps before and after: `Σ (θ_t − θ_prev)(θ_next − θ_t)`, and the squared length of
    /// the step after
    pub turn: Option<(f64, f64)>,
}

/// The other weights that `θ_t` is compared with, where there are any.
#[derive(Debug, Clone, Copy, Default)]
pub struct Others<'a> {
    /// `θ_0`
    pub init: Option<&'a [f64]>,
    /// Those saved before
    pub previous: Option<&'a [f64]>,
    /// Those saved after
    pub next: Option<&'a [f64]>,
    /// `θ_T`
    pub last: Option<&'a [f64]>,
}

/// How far the weights have come.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Movement {
    /// `‖θ_t − θ_0‖`
    pub distance_from_init: Option<f64>,
    /// `‖θ_t − θ_prev‖`
    pub distance_from_previous: Option<f64>,
    /// `‖θ_T − θ_t‖`
    pub distance_to_final: Option<f64>,
    /// `⟨θ_t − θ_prev, θ_next − θ_t⟩ / (‖θ_t − θ_prev‖ ‖θ_next − θ_t‖)`, in [−1, 1]; none if one
    /// of the two steps is zero
    pub cosine_of_steps: Option<f64>,
}

impl Sums {
    /// Of no parameters: what is added to it stays as it is.
    pub const ZERO: Self = Self {
        from_init: Some(0.0),
        from_previous: Some(0.0),
        to_final: Some(0.0),
        turn: Some((0.0, 0.0)),
    };

    /// The sums over all entries of `now`.
    ///
    /// # Panics
    /// If the lengths differ.
    #[must_use]
    pub fn new(now: &[f64], others: Others<'_>) -> Self {
        let distance_sq = |other| squared_distance(now, other);
        let turn = others.previous.zip(others.next).map(|(previous, next)| {
            let product = |range: Range<usize>| {
                let now = &now[range.clone()];
                let before = difference(now, &previous[range.clone()]);
                let after = difference(&next[range], now);
                dot(&before, &after)
            };
            assert!(previous.len() == now.len() && next.len() == now.len(), "the same parameters");
            (pairwise(0..now.len(), &product), distance_sq(next))
        });
        Self {
            from_init: others.init.map(distance_sq),
            from_previous: others.previous.map(distance_sq),
            to_final: others.last.map(distance_sq),
            turn,
        }
    }

    /// The distances and the angle.
    #[must_use]
    pub fn movement(&self) -> Movement {
        let cosine = |(product, after): (f64, f64)| {
            let lengths = self.from_previous?.sqrt() * after.sqrt();
            (lengths > 0.0).then(|| (product / lengths).clamp(-1.0, 1.0))
        };
        Movement {
            distance_from_init: self.from_init.map(f64::sqrt),
            distance_from_previous: self.from_previous.map(f64::sqrt),
            distance_to_final: self.to_final.map(f64::sqrt),
            cosine_of_steps: self.turn.and_then(cosine),
        }
    }
}

impl Add for Sums {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        let add = |a: Option<f64>, b: Option<f64>| Some(a? + b?);
        let turn = self.turn.zip(other.turn);
        Self {
            from_init: add(self.from_init, other.from_init),
            from_previous: add(self.from_previous, other.from_previous),
            to_final: add(self.to_final, other.to_final),
            turn: turn.map(|((a, b), (c, d))| (a + c, b + d)),
        }
    }
}

/// `Σ (a − b)²`.
///
/// # Panics
/// If the lengths differ.
#[must_use]
pub fn squared_distance(a: &[f64], b: &[f64]) -> f64 {
    assert_eq!(a.len(), b.len(), "the same parameters");
    let square = |range: Range<usize>| {
        let step = difference(&a[range.clone()], &b[range]);
        dot(&step, &step)
    };
    pairwise(0..a.len(), &square)
}

fn difference(a: &[f64], b: &[f64]) -> Vec<f64> {
    a.iter().zip(b).map(|(a, b)| a - b).collect()
}

/// Sum over a range: of its halves, down to single blocks. The error grows with the logarithm of
/// the length only.
fn pairwise(range: Range<usize>, block: &impl Fn(Range<usize>) -> f64) -> f64 {
    if range.len() <= BLOCK {
        return block(range);
    }
    let half = range.len().div_ceil(2).next_multiple_of(BLOCK);
    let middle = range.start + half.min(range.len());
    pairwise(range.start..middle, block) + pairwise(middle..range.end, block)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn others<'a>(previous: &'a [f64], next: &'a [f64]) -> Others<'a> {
        Others { previous: Some(previous), next: Some(next), ..Others::default() }
    }

    #[test]
    fn a_right_angle_and_a_turn_back() {
        let (before, now) = ([0.0, 0.0], [3.0, 0.0]);
        let cosine =
            |next: &[f64]| Sums::new(&now, others(&before, next)).movement().cosine_of_steps;
        assert_eq!(cosine(&[3.0, 4.0]), Some(0.0));
        assert_eq!(cosine(&[1.0, 0.0]), Some(-1.0));
        assert_eq!(cosine(&[9.0, 0.0]), Some(1.0));
        assert_eq!(cosine(&now), None, "a step of zero has no direction");

        let others = Others { init: Some(&before), last: Some(&[3.0, 4.0]), ..Others::default() };
        let found = Sums::new(&now, others).movement();
        assert_eq!((found.distance_from_init, found.distance_to_final), (Some(3.0), Some(4.0)));
        assert_eq!((found.distance_from_previous, found.cosine_of_steps), (None, None));
    }

    /// Lengths around the size of a block and of a pair of blocks.
    #[test]
    fn every_parameter_counts_once() {
        for n in [0, 1, 7, 1023, 1024, 1025, 2047, 2048, 2049, 5000] {
            let a: Vec<f64> = (0..n).map(|i| (i + 1) as f64).collect();
            let expected = (n * (n + 1) * (2 * n + 1) / 6) as f64;
            let found = squared_distance(&a, &vec![0.0; n]);
            assert!((found - expected).abs() <= 1e-14 * expected, "{n}: {found}");
        }
    }

    proptest! {
        /// Tensors add up to the whole vector, whatever the cut; a missing part is missed.
        #[test]
        fn parts_add_up(
            values in prop::collection::vec(-2.0..2.0f64, 4 * 30), cut in 0usize..30,
        ) {
            let [a, b, c, d] = [0, 1, 2, 3].map(|i| &values[30 * i..30 * (i + 1)]);
            let of = |range: Range<usize>| {
                let part = |x: &'static str| match x {
                    "b" => &b[range.clone()], "c" => &c[range.clone()], _ => &d[range.clone()],
                };
                let others = Others {
                    init: Some(part("b")), previous: Some(part("c")), next: Some(part("d")),
                    last: Some(part("b")),
                };
                Sums::new(&a[range.clone()], others)
            };
            let (whole, sum) = (of(0..30).movement(), (of(0..cut) + of(cut..30)).movement());
            for (x, y) in [
                (whole.distance_from_init, sum.distance_from_init),
                (whole.distance_from_previous, sum.distance_from_previous),
                (whole.distance_to_final, sum.distance_to_final),
                (whole.cosine_of_steps, sum.cosine_of_steps),
            ] {
                prop_assert!((x.unwrap() - y.unwrap()).abs() < 1e-13);
            }
            let none = Sums { from_init: None, ..Sums::ZERO };
            prop_assert_eq!((of(0..30) + none).from_init, None);
            prop_assert_eq!(of(0..30) + Sums::ZERO, of(0..30));
        }
    }
}
