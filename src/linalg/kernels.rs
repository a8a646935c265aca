//! The loops between the matrix products, compiled for several instruction sets and chosen at run
//! time, because a portable build knows only SSE2.
//!
//! These loops give the same bits whatever the width of the machine's vectors: products and sums are
//! never contracted into fused operations, and sums run in `LANES` fixed partial sums.

use multiversion::multiversion;
use ndarray::{ArrayView1, ArrayView2, ArrayViewMut2};

use super::Scalar;

/// Partial sums of a dot product; 16 f32 fill the widest vectors in use.
pub const LANES: usize = 16;

/// The sum of partial sums, by halving: a fixed order, and a small rounding error.
#[inline(always)]
pub fn fold_lanes<F: Scalar>(mut partial: [F; LANES]) -> F {
    let mut width = LANES / 2;
    while width > 0 {
        for lane in 0..width {
            let upper = partial[lane + width];
            partial[lane] += upper;
        }
        width /= 2;
    }
    partial[0]
}

/// `Σ_i a_i b_i`, in `LANES` partial sums.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn dot<F: Scalar>(a: &[F], b: &[F]) -> F {
    assert_eq!(a.len(), b.len());
    let mut partial = [F::zero(); LANES];
    let (a_blocks, a_rest) = a.as_chunks::<LANES>();
    let (b_blocks, b_rest) = b.as_chunks::<LANES>();
    for (x, y) in a_blocks.iter().zip(b_blocks) {
        for lane in 0..LANES {
            partial[lane] += x[lane] * y[lane];
        }
    }
    for (lane, (x, y)) in a_rest.iter().zip(b_rest).enumerate() {
        partial[lane] += *x * *y;
    }
    // Hidden from the optimiser, which would shape the loop above after the halving.
    fold_lanes(std::hint::black_box(partial))
}

/// `y ← y + a x`.
///
/// # Panics
/// If the lengths differ.
#[inline(always)]
pub fn axpy<F: Scalar>(a: F, x: &[F], y: &mut [F]) {
    assert_eq!(x.len(), y.len());
    for (y, x) in y.iter_mut().zip(x) {
        *y += a * *x;
    }
}

/// `eˣ` without branches, so that the compiler can compute several at once.
///
/// Range reduction `x = n ln 2 + r`, `|r| ≤ ½ ln 2`, with ln 2 in two parts (Cody & Waite), then the
/// Taylor polynomial of degree 13 (remainder below 5e-18). Error at most 2 units in the last place
/// (measured against the standard library, see the test). Below −708 the result is 0, above 709 it
/// is the value at 709; NaN stays NaN.
#[inline(always)]
#[must_use]
pub fn exp(x: f64) -> f64 {
    const LN2_HI: f64 = 6.931_471_803_691_238e-1; // the upper 33 bits of ln 2
    const LN2_LO: f64 = 1.908_214_929_270_587_7e-10;
    const ROUND: f64 = 6_755_399_441_055_744.0; // 1.5 · 2⁵²: adding it rounds to an integer
    const C: [f64; 12] = [
        1.0 / 2.0,
        1.0 / 6.0,
        1.0 / 24.0,
        1.0 / 120.0,
        1.0 / 720.0,
        1.0 / 5_040.0,
        1.0 / 40_320.0,
        1.0 / 362_880.0,
        1.0 / 3_628_800.0,
        1.0 / 39_916_800.0,
        1.0 / 479_001_600.0,
        1.0 / 6_227_020_800.0,
    ];
    let clamped = if x > 709.0 { 709.0 } else { x };
    let clamped = if clamped < -708.0 { -708.0 } else { clamped };
    let shifted = clamped * std::f64::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = (clamped - n * LN2_HI) - n * LN2_LO;
    let mut polynomial = C[11];
    let mut i = 11;
    while i > 0 {
        i -= 1;
        polynomial = polynomial * r + C[i];
    }
    let mantissa = 1.0 + (r + r * r * polynomial);
    // 2ⁿ: the low bits of `shifted` are n, put into the exponent field.
    let power = f64::from_bits((shifted.to_bits() << 52).wrapping_add(1023 << 52));
    if x < -708.0 { 0.0 } else { mantissa * power }
}

/// What [`row_loss`] finds in one row.
struct RowLoss {
    /// In nats
    loss: f64,
    /// Whether the largest logit is the label's; ties go to the lowest class
    correct: bool,
    /// `Σ_{c≠y} e^{z_c − z_y − shift}`, and the same with `c = y`
    others: f64,
    total: f64,
}

/// Cross-entropy of one row of logits, in nats, and what its gradient is made of.
///
/// ```text
/// ℓ = log1p( Σ_{c≠y} e^{z_c − z_y} )              if every other logit is below z_y
/// ℓ = m + ln( e^{−m} + Σ_{c≠y} e^{z_c − z_y − m} )   otherwise, m = max_{c≠y} (z_c − z_y)
/// ```
///
/// In this form a loss near 0 keeps its relative precision; `1 − p_y` or `logsumexp − z_y` would
/// lose it. `terms` is scratch as long as the row; on return it holds `e^{z_c − z_y − shift}`, 0 for
/// the label.
#[inline(always)]
fn row_loss<F: Scalar>(logits: &[F], label: usize, terms: &mut [f64]) -> RowLoss {
    let own = logits[label].widen();
    for (gap, logit) in terms.iter_mut().zip(logits) {
        *gap = logit.widen() - own;
    }
    terms[label] = f64::NEG_INFINITY;
    let max = max(terms);
    let shift = if max < 0.0 { 0.0 } else { max };
    for term in terms.iter_mut() {
        *term = exp(*term - shift);
    }
    let others = sum(terms);
    let total = exp(-shift) + others;
    let loss = if others.is_nan() {
        f64::NAN // `max` may have passed over it
    } else if shift > 0.0 {
        shift + total.ln()
    } else {
        others.ln_1p()
    };
    // Equal logits are rare: only then does the order of the classes matter.
    let correct = !loss.is_nan() && (max < 0.0 || (max <= 0.0 && argmax(logits) == label));
    RowLoss { loss, correct, others, total }
}

/// Largest of the numbers that are not NaN, in `LANES` partial maxima.
#[inline(always)]
#[must_use]
pub fn max(x: &[f64]) -> f64 {
    let larger = |a: f64, b: f64| if b > a { b } else { a };
    let mut partial = [f64::NEG_INFINITY; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            partial[lane] = larger(partial[lane], block[lane]);
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        partial[lane] = larger(partial[lane], *value);
    }
    partial.into_iter().fold(f64::NEG_INFINITY, larger)
}

/// `Σ_i x_i` in `LANES` partial sums.
#[inline(always)]
fn sum(x: &[f64]) -> f64 {
    let mut partial = [0.0; LANES];
    let (blocks, rest) = x.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            partial[lane] += block[lane];
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        partial[lane] += value;
    }
    partial.iter().sum()
}

/// Sums over the rows of one block of logits.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct RowSums {
    /// Sum of the cross-entropies, in nats
    pub loss: f64,
    /// Number of rows whose largest logit is the label's; ties go to the lowest class
    pub correct: usize,
}

impl std::ops::AddAssign for RowSums {
    fn add_assign(&mut self, other: Self) {
        self.loss += other.loss;
        self.correct += other.correct;
    }
}

/// `y ← y + x`.
///
/// # Panics
/// If the lengths differ.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn add<F: Scalar>(x: &[F], y: &mut [F]) {
    axpy(F::one(), x, y);
}

/// `y += x ∘ factor`
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn add_product<F: Scalar>(x: &[F], factor: &[F], y: &mut [F]) {
    y.iter_mut().zip(x.iter().zip(factor)).for_each(|(y, (x, factor))| *y += *x * *factor);
}

/// A row of a matrix whose columns are neighbours in memory.
fn slice_of<F>(row: ArrayView1<'_, F>) -> &[F] {
    row.to_slice().expect("the columns of logits are contiguous")
}

/// Cross-entropy and hits, summed over rows; `logits` is `[labels.len(), classes]`, `terms` scratch
/// of `classes` values.
///
/// # Panics
/// If the sizes do not fit, the columns are not contiguous, or a label is not below `classes`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn cross_entropy<F: Scalar>(
    logits: ArrayView2<'_, F>,
    labels: &[usize],
    terms: &mut [f64],
) -> RowSums {
    assert_eq!(logits.dim(), (labels.len(), terms.len()));
    let mut sums = RowSums::default();
    for (row, &label) in logits.outer_iter().zip(labels) {
        let found = row_loss(slice_of(row), label, terms);
        sums += RowSums { loss: found.loss, correct: usize::from(found.correct) };
    }
    sums
}

/// Cross-entropy, in nats, and hit of every row of `logits`, `[labels.len(), classes]`.
///
/// # Panics
/// If the sizes do not fit, or a label is not below `classes`.
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn row_losses<F: Scalar>(
    logits: &[F],
    classes: usize,
    labels: &[usize],
    losses: &mut [f64],
    correct: &mut [bool],
) {
    let mut terms = vec![0.0; classes];
    for (i, (row, &label)) in logits.chunks_exact(classes).zip(labels).enumerate() {
        let found = row_loss(row, label, &mut terms);
        (losses[i], correct[i]) = (found.loss, found.correct);
    }
}

/// A gradient with respect to a logit, in the numbers of the network; 0 below 2⁻¹⁰⁰ (of f64: 2⁻⁹⁹⁶), 2²⁶
/// times the smallest normal number.
///
/// A network that has fitted its data gives most wrong classes less than that. These entries, or their
/// products with weights, would be subnormal, and products of matrices full of them take some processors ten
/// times as long. Beside the entry of the label they vanish in rounding.
#[inline(always)]
pub fn gradient<F: Scalar>(value: f64) -> F {
    let least = F::min_positive_value().widen() * f64::from(1u32 << 26);
    F::narrow(if value.abs() < least { 0.0 } else { value })
}

/// As [`cross_entropy`], and the gradient of `scale · Σ ℓ` with respect to the logits in their
/// place.
///
/// ```text
/// ∂ℓ/∂z_c = softmax_c   (c ≠ y),      ∂ℓ/∂z_y = −Σ_{c≠y} softmax_c
/// ```
///
/// Entries are those of [`gradient`].
///
/// # Panics
/// As [`cross_entropy`].
#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
pub fn cross_entropy_backward<F: Scalar>(
    mut logits: ArrayViewMut2<'_, F>,
    labels: &[usize],
    scale: f64,
    terms: &mut [f64],
) -> RowSums {
    assert_eq!(logits.dim(), (labels.len(), terms.len()));
    let mut sums = RowSums::default();
    for (mut row, &label) in logits.outer_iter_mut().zip(labels) {
        let row = row.as_slice_mut().expect("the columns of logits are contiguous");
        let found = row_loss(row, label, terms);
        let factor = scale / found.total;
        for (logit, term) in row.iter_mut().zip(terms.iter()) {
            *logit = gradient(factor * term);
        }
        row[label] = gradient(-factor * found.others);
        sums += RowSums { loss: found.loss, correct: usize::from(found.correct) };
    }
    sums
}

/// Index of the largest value; ties go to the lowest index.
#[inline(always)]
pub fn argmax<F: Scalar>(values: &[F]) -> usize {
    let mut best = 0;
    for (i, value) in values.iter().enumerate() {
        if *value > values[best] {
            best = i;
        }
    }
    best
}

#[cfg(test)]
mod tests;
