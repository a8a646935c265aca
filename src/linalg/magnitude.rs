//! The largest magnitude of a matrix, and whether all of it is finite, in one pass.

use multiversion::multiversion;
use ndarray::ArrayView2;

use super::kernels::LANES;

/// `max |a_ij|`; NaN if one of them is NaN or infinite.
pub(super) fn largest_magnitude(a: ArrayView2<'_, f64>) -> f64 {
    match a.to_slice_memory_order() {
        Some(values) => largest(values),
        None => largest(&a.iter().copied().collect::<Vec<f64>>()),
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn largest(values: &[f64]) -> f64 {
    // 0 x is NaN for what is not finite, and the sum of such terms is then, too.
    let (mut max, mut zero) = ([0.0; LANES], [0.0; LANES]);
    let (blocks, rest) = values.as_chunks::<LANES>();
    for block in blocks {
        for lane in 0..LANES {
            let value = block[lane].abs();
            max[lane] = if value > max[lane] { value } else { max[lane] };
            zero[lane] += 0.0 * value;
        }
    }
    for (lane, value) in rest.iter().enumerate() {
        let value = value.abs();
        max[lane] = if value > max[lane] { value } else { max[lane] };
        zero[lane] += 0.0 * value;
    }
    max.into_iter().fold(0.0, f64::max) + zero.iter().sum::<f64>()
}

#[cfg(test)]
mod tests {
    use ndarray::{Array2, s};

    use super::*;

    #[test]
    fn the_largest_magnitude_is_found_wherever_it_is() {
        let mut a = Array2::from_shape_fn((5, 7), |(i, j)| -((i * 7 + j) as f64));
        let bits = |a: ArrayView2<'_, f64>| largest_magnitude(a).to_bits();
        assert_eq!(bits(a.view()), 34.0f64.to_bits());
        assert_eq!(bits(a.slice(s![..3, 1..])), 20.0f64.to_bits());
        assert_eq!(bits(a.slice(s![..0, ..])), 0.0f64.to_bits());
        for place in (0..35).map(|place| [place / 7, place % 7]) {
            let before = std::mem::replace(&mut a[place], 1e300);
            assert_eq!(bits(a.t()), 1e300f64.to_bits());
            for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
                a[place] = bad;
                assert!(largest_magnitude(a.view()).is_nan(), "{bad} at {place:?}");
            }
            a[place] = before;
        }
    }
}
