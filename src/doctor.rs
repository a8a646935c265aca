//! Whether this machine computes fast and reproducibly: the tests behind `groundswell doctor`.

use std::time::Instant;

use ndarray::Array2;
use rayon::prelude::*;

use crate::blas::{BlasInfo, better_kernel};
use crate::linalg::{matmul, matmul_into, svd};

/// Calls of the concurrency test.
pub const CALLS: usize = 200;

/// A matrix without structure, the same on every call.
fn matrix(rows: usize, cols: usize, seed: usize) -> Array2<f64> {
    Array2::from_shape_fn((rows, cols), |(i, j)| {
        let mixed = (i * 7919 + j * 104_729 + seed * 1_299_709) % 10_007;
        mixed as f64 / 10_007.0 - 0.5
    })
}

/// Products and singular values from many threads at once, against the same calls one after the
/// other. Returns how many of [`CALLS`] differ in any bit; it must be 0.
#[must_use]
pub fn concurrency_test(threads: usize) -> usize {
    let work = |call: usize| {
        let (a, b) = (matrix(48, 64, call), matrix(64, 48, call + 1));
        let product = matmul(b.view().t(), a.view().t());
        let sigma = svd::singular_values(product.view());
        let sigma = sigma.unwrap_or_default();
        product.iter().chain(&sigma).map(|x| x.to_bits()).collect::<Vec<_>>()
    };
    let serial: Vec<_> = (0..CALLS).map(work).collect();
    let Ok(pool) = rayon::ThreadPoolBuilder::new().num_threads(threads).build() else {
        return CALLS;
    };
    let concurrent: Vec<_> = pool.install(|| (0..CALLS).into_par_iter().map(work).collect());
    serial.iter().zip(&concurrent).filter(|(a, b)| a != b).count()
}

/// Rate of f32 products of sizes like those of a training step, in GFLOP/s, on one thread: the median of
/// five.
#[must_use]
pub fn product_rate() -> f64 {
    let (m, n, k) = (1024, 512, 128);
    let a = matrix(m, k, 0).mapv(|x| x as f32);
    let b = matrix(k, n, 1).mapv(|x| x as f32);
    let mut c = Array2::zeros((m, n));
    let mut rates: Vec<f64> = (0..5)
        .map(|_| {
            let started = Instant::now();
            for _ in 0..10 {
                matmul_into(a.view(), b.view(), 0.0, c.view_mut());
                std::hint::black_box(&mut c);
            }
            10.0 * 2.0 * (m * n * k) as f64 / started.elapsed().as_secs_f64() / 1e9
        })
        .collect();
    rates.sort_by(f64::total_cmp);
    rates[2]
}

/// Memory that this process may use, in bytes: of its control group, or of the machine.
#[must_use]
pub fn memory() -> Option<u64> {
    let limit = std::fs::read_to_string("/sys/fs/cgroup/memory.max");
    let limit = limit.ok().and_then(|text| text.trim().parse::<u64>().ok());
    let total = std::fs::read_to_string("/proc/meminfo").ok().and_then(|text| {
        let line = text.lines().find_map(|line| line.strip_prefix("MemTotal:"))?;
        line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()
    });
    match (limit, total.map(|kib| kib * 1024)) {
        (Some(limit), Some(total)) => Some(limit.min(total)),
        (limit, total) => limit.or(total),
    }
}

/// What to change, one sentence each.
#[must_use]
pub fn advice(info: &BlasInfo, features: &[&str], differing: usize) -> Vec<String> {
    let mut advice = Vec::new();
    if let Some(better) = better_kernel(info, features) {
        advice.push(format!(
            "the {} kernel is in force, and {better} is faster: unset OPENBLAS_CORETYPE, or install \
             an OpenBLAS that chooses its kernel (DYNAMIC_ARCH)",
            info.kernel
        ));
    }
    if differing > 0 {
        advice.push("do not trust results from here: this build is not thread-safe".into());
    }
    advice
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn concurrent_calls_give_serial_bits() {
        assert_eq!(concurrency_test(8), 0);
    }

    #[test]
    fn slow_kernels_are_named() {
        let info = |kernel: &str| BlasInfo {
            library: "OpenBLAS".into(),
            version: "0.3.21".into(),
            kernel: kernel.into(),
        };
        let wide = ["avx2", "avx512f", "avx512bw", "avx512dq", "avx512vl"];
        let found = advice(&info("Haswell"), &wide, 0);
        assert!(found[0].contains("the Haswell kernel is in force, and SkylakeX"), "{found:?}");
        assert!(advice(&info("SkylakeX"), &wide, 0).is_empty());
        assert!(advice(&info("Zen"), &["avx2"], 0).is_empty());
        assert_eq!(advice(&info("Zen"), &[], 3).len(), 1);
    }
}
