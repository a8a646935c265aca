//! What multiplies matrices, and that it keeps to one thread.
//!
//! Exactly one layer owns the cores: the engines' `rayon` pool. BLAS threads below it fight over
//! the same cores (eight callers with two BLAS threads each did not finish in seconds what one
//! thread did in 0.2 s) and may change the order of summation, so every call has one thread.
//!
//! The library is chosen when the program is built: OpenBLAS, or, with the feature `gemm` alone, one
//! written in Rust that needs nothing from the system. Its kernel is chosen when the program starts,
//! by the processor, never by a stopwatch.

#[cfg(feature = "openblas")]
mod ffi;
#[cfg(feature = "openblas")]
mod openblas;
#[cfg(not(feature = "openblas"))]
mod pure;

use serde::{Deserialize, Serialize};

use crate::error::{Error, Result};

#[cfg(feature = "openblas")]
use openblas as library;
#[cfg(not(feature = "openblas"))]
use pure as library;

pub(crate) use library::one_thread;
pub use library::{info, threading, threads};

/// Which library computes: recorded in `run.json` and in the metadata of every table, because other
/// kernels sum in another order and give other last bits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BlasInfo {
    /// `OpenBLAS`, or `faer` for the library in Rust
    pub library: String,
    /// Its version, such as `0.3.21`
    pub version: String,
    /// Its kernel for this processor, such as `Zen` or `SkylakeX`
    pub kernel: String,
}

impl std::fmt::Display for BlasInfo {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} {}, kernel {}", self.library, self.version, self.kernel)
    }
}

/// Make sure that the library keeps to one thread, and may be called from several at once.
///
/// # Errors
/// [`Error::Blas`] with what to do.
pub fn require_one_thread() -> Result<BlasInfo> {
    let info = info();
    let refuse = |problem: String, help: &str| Err(Error::Blas { problem, help: help.into() });
    if threads() != 1 {
        let problem = format!("{} threads per call stay in force ({})", threads(), threading());
        let help = "start again with OMP_NUM_THREADS=1 OPENBLAS_NUM_THREADS=1 before the command";
        return refuse(problem, help);
    }
    if library::is_suspect(&info) {
        return refuse(
            format!("{} {} is not safe to call from several threads", info.library, info.version),
            "install another build or version of OpenBLAS: 0.3.28 to 0.3.30 have races, and serial \
             builds have no locks",
        );
    }
    Ok(info)
}

/// A kernel that suits this processor better than the one in force, by its name in OpenBLAS.
///
/// OpenBLAS chooses by a list of processors that it knows; one that is newer gets a kernel of an old
/// one, though it has the wide vectors of AVX-512.
#[must_use]
pub fn better_kernel(info: &BlasInfo, features: &[&str]) -> Option<&'static str> {
    const WITH_AVX512: [&str; 5] = ["SkylakeX", "Cooperlake", "SapphireRapids", "Zen4", "Zen5"];
    const NEEDED: [&str; 4] = ["avx512f", "avx512bw", "avx512dq", "avx512vl"];
    let has = |feature: &&str| features.contains(feature);
    let wide = WITH_AVX512.iter().any(|name| info.kernel.eq_ignore_ascii_case(name));
    (info.library == "OpenBLAS" && !wide && NEEDED.iter().all(has)).then_some("SkylakeX")
}

/// Vector instruction sets of this processor that matter here.
#[must_use]
pub fn vector_features() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let features = [
        ("avx2", is_x86_feature_detected!("avx2")),
        ("fma", is_x86_feature_detected!("fma")),
        ("avx512f", is_x86_feature_detected!("avx512f")),
        ("avx512bw", is_x86_feature_detected!("avx512bw")),
        ("avx512dq", is_x86_feature_detected!("avx512dq")),
        ("avx512vl", is_x86_feature_detected!("avx512vl")),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let features = [("neon", cfg!(target_arch = "aarch64"))];
    features.into_iter().filter(|(_, there)| *there).map(|(name, _)| name).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_library_is_named_and_keeps_to_one_thread() {
        let info = require_one_thread().unwrap();
        let expected = if cfg!(feature = "openblas") { "OpenBLAS" } else { "faer" };
        assert_eq!(info.library, expected);
        assert!(info.version.split('.').count() >= 2, "{info:?}");
        assert!(!info.kernel.is_empty());
    }

    #[test]
    fn a_processor_that_openblas_does_not_know_gets_its_wide_vectors() {
        let info = |library: &str, kernel: &str| BlasInfo {
            library: library.into(),
            version: "0.3.21".into(),
            kernel: kernel.into(),
        };
        let all = ["avx2", "fma", "avx512f", "avx512bw", "avx512dq", "avx512vl"];
        for old in ["Haswell", "Zen", "Prescott"] {
            assert_eq!(better_kernel(&info("OpenBLAS", old), &all), Some("SkylakeX"));
            assert_eq!(better_kernel(&info("OpenBLAS", old), &all[..5]), None);
        }
        for wide in ["SkylakeX", "Cooperlake", "SAPPHIRERAPIDS"] {
            assert_eq!(better_kernel(&info("OpenBLAS", wide), &all), None);
        }
        assert_eq!(better_kernel(&info("faer", "avx2"), &all), None);
    }
}
