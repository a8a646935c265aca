//! The library in Rust: faer, whose products are those of the `gemm` kernels.

use super::{BlasInfo, vector_features};

/// The version in `Cargo.lock`; the crate does not tell it.
const VERSION: &str = "0.24.4";

/// The library, its version, and the vectors that it finds on this processor.
#[must_use]
pub fn info() -> BlasInfo {
    let features = vector_features();
    let widest = ["avx512f", "fma", "neon"].into_iter().find(|name| features.contains(name));
    BlasInfo {
        library: "faer".into(),
        version: VERSION.into(),
        kernel: widest.unwrap_or("scalar").into(),
    }
}

/// How the library runs in parallel.
#[must_use]
pub fn threading() -> &'static str {
    "built without threads"
}

/// Number of threads that a call uses.
#[must_use]
pub fn threads() -> i32 {
    1
}

/// There is nothing to set.
pub(crate) fn one_thread() {}

/// It keeps no state between calls.
pub(super) fn is_suspect(_info: &BlasInfo) -> bool {
    false
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_version_is_the_one_that_is_built() {
        let lock = include_str!("../../Cargo.lock");
        let entry = format!("name = \"faer\"\nversion = \"{}\"", super::VERSION);
        assert!(lock.contains(&entry), "no {entry:?} in Cargo.lock");
    }
}
