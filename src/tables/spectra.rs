//! Singular values of the weights: `spectra` and `singular_values`.
//!
//! Sources: Roy & Vetterli (2007) for the effective rank; Clauset, Shalizi & Newman (2009) for
//! the power law; Gavish & Donoho (2014) for the median scale of the Marchenko–Pastur law;
//! Johnstone (2001) for the fluctuation of its edge.

use super::status::Status;
use crate::table;

table! {
    /// Spectral measures of one weight matrix of one checkpoint.
    ///
    /// W is the m×n matrix, N = max(m,n), M = min(m,n); σ_1 ≥ … ≥ σ_M are its singular values,
    /// λ = σ², not divided by N.
    struct SpectrumRow, table "spectra", version 1, key [run, step, tensor, batch_index];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Name of the tensor in the checkpoint.
    tensor: String,
    /// Index along the leading axes of a tensor with more than two, row-major; 0 for a matrix.
    batch_index: i64,
    /// m, the first axis of the matrix; null if the tensor is no matrix.
    rows: Option<i64> ["count"],
    /// n, the second axis of the matrix; null if the tensor is no matrix.
    cols: Option<i64> ["count"],
    /// Σλ, the squared Frobenius norm.
    frobenius_sq: Option<f64> ["weight²"],
    /// σ_1, the largest singular value.
    spectral_norm: Option<f64> ["weight"],
    /// Σλ / λ_1, in [1, M]; null if W is zero.
    stable_rank: Option<f64>,
    /// exp(−Σ q ln q) with q = σ/Σσ, in [1, M] (Roy & Vetterli 2007); null if W is zero.
    effective_rank: Option<f64>,
    /// (Σλ)² / Σλ², in [1, M]; null if W is zero.
    participation_ratio: Option<f64>,
    /// Number of σ above tol = max(σ_1 g, ½ eps (√m+√n) ‖W‖_F/√(mn)), the noise of rounding to
    /// the storage type; eps its spacing at 1, and g = √(N·2⁻⁵²) where the singular values come
    /// from the Gram matrix, N·2⁻⁵² where from an SVD.
    rank: Option<i64> ["count"],
    /// σ_1 / σ_M; null if σ_M ≤ tol.
    condition: Option<f64>,
    /// Σσ, the nuclear norm.
    nuclear: Option<f64> ["weight"],
    /// Exponent α = 1 + n_tail / Σ ln(λ_j/xmin) of the power law that fits the largest λ best,
    /// xmin by the least Kolmogorov–Smirnov distance (Clauset, Shalizi & Newman 2009); null if
    /// no start leaves 10 values.
    alpha: Option<f64>,
    /// Smallest λ that the power law of `alpha` describes; null if `alpha` is.
    alpha_xmin: Option<f64> ["weight²"],
    /// Number of λ that the power law of `alpha` describes; null if `alpha` is.
    n_tail: Option<i64> ["count"],
    /// Upper edge s²(√N+√M)² of the Marchenko–Pastur law for λ, with s² = median(λ)/(N μ_β)
    /// and μ_β the median of that law for β = M/N (Gavish & Donoho 2014); null if M < 8 or the
    /// median is at most tol².
    mp_edge: Option<f64> ["weight²"],
    /// Number of λ beyond s²(μ + 2.023 τ), the 99 % quantile of the largest λ of noise (Johnstone
    /// 2001), with s² of `mp_edge`, μ = (√(N−1)+√M)² and τ = (√(N−1)+√M)(1/√(N−1)+1/√M)^(1/3);
    /// null if `mp_edge` is.
    n_spikes: Option<i64> ["count"],
    /// `ok`, or why measures are null.
    status: Status,
}

table! {
    /// One singular value of one weight matrix of one checkpoint.
    struct SingularValueRow, table "singular_values", version 1,
        key [run, step, tensor, batch_index, index];

    /// Run name: the name of its folder.
    run: String,
    /// Optimiser updates taken when saved; 0 is the initialisation.
    step: i64 ["steps"],
    /// Name of the tensor in the checkpoint.
    tensor: String,
    /// Index along the leading axes of a tensor with more than two, row-major; 0 for a matrix.
    batch_index: i64,
    /// Position among the singular values, from 0 for the largest.
    index: i64,
    /// The singular value σ; a matrix without any (see `spectra.status`) has no rows.
    sigma: f64 ["weight"],
}
