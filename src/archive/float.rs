//! From the little-endian bytes of a tensor to f64, exactly.
//!
//! Every value of F16, BF16 and F32 is also a value of F64, so nothing is rounded. NaN stays NaN.

use safetensors::Dtype;

/// Bytes per element of the dtypes that are loaded; `None` for those that are only listed.
#[must_use]
pub fn float_bytes(dtype: Dtype) -> Option<usize> {
    match dtype {
        Dtype::F64 => Some(8),
        Dtype::F32 => Some(4),
        Dtype::F16 | Dtype::BF16 => Some(2),
        _ => None,
    }
}

/// Whether a dtype holds numbers that are not read. (Integers and BOOL are buffers, and no weights.)
#[must_use]
pub fn is_unsupported(dtype: Dtype) -> bool {
    use Dtype::{BOOL, I8, I16, I32, I64, U8, U16, U32, U64};
    let buffer = matches!(dtype, BOOL | I8 | I16 | I32 | I64 | U8 | U16 | U32 | U64);
    !buffer && float_bytes(dtype).is_none()
}

/// Append the elements in `bytes`, a whole number of them, to `values`.
pub fn widen(dtype: Dtype, bytes: &[u8], values: &mut Vec<f64>) {
    let halves = bytes.as_chunks::<2>().0.iter().map(|half| u16::from_le_bytes(*half));
    match dtype {
        Dtype::F64 => values.extend(bytes.as_chunks().0.iter().map(|b| f64::from_le_bytes(*b))),
        Dtype::F32 => {
            values.extend(bytes.as_chunks().0.iter().map(|b| f64::from(f32::from_le_bytes(*b))));
        }
        Dtype::F16 => values.extend(halves.map(f16_to_f64)),
        Dtype::BF16 => values.extend(halves.map(bf16_to_f64)),
        _ => {}
    }
}

/// IEEE 754 binary16: sign, 5 bits of exponent (bias 15), 10 bits of fraction.
fn f16_to_f64(bits: u16) -> f64 {
    let sign = u64::from(bits >> 15) << 63;
    let exponent = u64::from(bits >> 10 & 0x1f);
    let fraction = u64::from(bits & 0x3ff);
    match exponent {
        // Zero and subnormal numbers: fraction · 2⁻²⁴.
        0 => f64::from_bits(sign | (fraction as f64 / 16_777_216.0).to_bits()),
        31 => f64::from_bits(sign | 0x7ff << 52 | fraction << 42),
        _ => f64::from_bits(sign | (exponent + 1023 - 15) << 52 | fraction << 42),
    }
}

/// The upper half of an IEEE 754 binary32.
fn bf16_to_f64(bits: u16) -> f64 {
    f64::from(f32::from_bits(u32::from(bits) << 16))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The definition: `(−1)^s · 2^(e − bias) · (1 + f/2^w)`; for e = 0, `(−1)^s · 2^(1 − bias) · f/2^w`;
    /// for the highest e, infinity or, with f ≠ 0, NaN.
    fn definition(bits: u16, fraction_bits: i32, exponent_bits: u32) -> f64 {
        let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
        let highest = (1i32 << exponent_bits) - 1;
        let bias = highest / 2;
        let exponent = i32::from(bits) >> fraction_bits & highest;
        let share =
            f64::from(i32::from(bits) & ((1 << fraction_bits) - 1)) / 2f64.powi(fraction_bits);
        match exponent {
            0 => sign * 2f64.powi(1 - bias) * share,
            e if e == highest && share > 0.0 => f64::NAN,
            e if e == highest => sign * f64::INFINITY,
            e => sign * 2f64.powi(e - bias) * (1.0 + share),
        }
    }

    #[test]
    fn all_patterns_of_16_bits_are_exact() {
        for bits in 0..=u16::MAX {
            for (found, expected) in [
                (f16_to_f64(bits), definition(bits, 10, 5)),
                (bf16_to_f64(bits), definition(bits, 7, 8)),
            ] {
                let same = found.to_bits() == expected.to_bits();
                assert!(same || found.is_nan() && expected.is_nan(), "{bits:#06x}: {found}");
            }
        }
    }

    #[test]
    fn elements_are_little_endian() {
        let values = |dtype, bytes: &[u8]| {
            let mut values = Vec::new();
            widen(dtype, bytes, &mut values);
            values
        };
        assert_eq!(values(Dtype::F64, &(-0.1f64).to_le_bytes()), [-0.1]);
        assert_eq!(values(Dtype::F32, &[0, 0, 0xc0, 0x3f, 0, 0, 0, 0x80]), [1.5, -0.0]);
        assert_eq!(values(Dtype::F16, &[0x00, 0x3c]), [1.0]);
        assert_eq!(values(Dtype::BF16, &[0x80, 0x3f]), [1.0]);
        assert!(values(Dtype::I64, &[0; 8]).is_empty());
    }
}
