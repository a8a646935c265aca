//! Nonlinearities of the neurons, value and slope.

use multiversion::multiversion;

use crate::config::Activation;
use crate::linalg::Scalar;

/// `h = act(pre)` in place. Returns with `pre` where the slope needs it (GELU, quadratic), else
/// untouched.
pub fn forward<F: Scalar>(activation: Activation, values: &mut [F], pre: &mut [F]) {
    match activation {
        Activation::Relu => relu(values),
        Activation::Gelu => {
            pre.copy_from_slice(values);
            for value in values {
                let x = value.widen();
                *value = F::narrow(x * normal_cdf(x));
            }
        }
        Activation::Quadratic => {
            pre.copy_from_slice(values);
            square(values);
        }
    }
}

/// `d_pre = d_h · act'(pre)` in place; `h` and `pre` are as [`forward`] left them.
pub fn backward<F: Scalar>(activation: Activation, d_values: &mut [F], h: &[F], pre: &[F]) {
    match activation {
        Activation::Relu => relu_backward(d_values, h),
        Activation::Gelu => {
            for (d, pre) in d_values.iter_mut().zip(pre) {
                let x = pre.widen();
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                *d *= F::narrow(normal_cdf(x) + x * density);
            }
        }
        Activation::Quadratic => square_backward(d_values, pre),
    }
}

/// `act''(pre)` in place of `pre`; nothing for ReLU, whose second derivative is 0 (but at its kink).
/// Whether there is something.
pub fn curvature<F: Scalar>(activation: Activation, pre: &mut [F]) -> bool {
    match activation {
        Activation::Relu => return false,
        // Φ + xφ has the derivative 2φ + xφ' = (2 − x²)φ.
        Activation::Gelu => {
            for value in pre {
                let x = value.widen();
                let density = (-0.5 * x * x).exp() / (2.0 * std::f64::consts::PI).sqrt();
                *value = F::narrow((2.0 - x * x) * density);
            }
        }
        Activation::Quadratic => pre.fill(F::narrow(2.0)),
    }
    true
}

/// Length of the `pre` scratch that an activation needs for `len` values.
#[must_use]
pub fn scratch_len(activation: Activation, len: usize) -> usize {
    match activation {
        Activation::Relu => 0,
        Activation::Gelu | Activation::Quadratic => len,
    }
}

/// Φ(x), the distribution function of the standard normal.
fn normal_cdf(x: f64) -> f64 {
    0.5 * libm::erfc(-x / std::f64::consts::SQRT_2)
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn relu<F: Scalar>(values: &mut [F]) {
    for value in values {
        // A comparison, not `max`: NaN must stay NaN.
        *value = if *value < F::zero() { F::zero() } else { *value };
    }
}

#[multiversion(targets("x86_64+avx512f+avx512dq+avx512vl+fma", "x86_64+avx2+fma", "aarch64+neon"))]
fn relu_backward<F: Scalar>(d_values: &mut [F], h: &[F]) {
    for (d, h) in d_values.iter_mut().zip(h) {
        *d = if *h > F::zero() { *d } else { F::zero() };
    }
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn square<F: Scalar>(values: &mut [F]) {
    for value in values {
        *value *= *value;
    }
}

#[multiversion(targets("x86_64+avx2+fma", "aarch64+neon"))]
fn square_backward<F: Scalar>(d_values: &mut [F], pre: &[F]) {
    for (d, pre) in d_values.iter_mut().zip(pre) {
        *d *= *pre + *pre;
    }
}
