//! Spectra of large symmetric matrices that are known by their products alone.
//!
//! [`Krylov`] runs the Lanczos recurrence with full reorthogonalisation; [`top`] takes the largest
//! eigenvalues from it, [`quadrature`] the nodes and weights of the spectral density seen from one
//! vector.
//!
//! ```text
//! A V_m = V_m T_m + β_m v_{m+1} e_mᵀ,   T_m tridiagonal;   T_m = Σ_i θ_i y_i y_iᵀ
//! eigenvalue ≈ θ_i, vector V_m y_i, ‖A V_m y_i − θ_i V_m y_i‖ = β_m |y_i[m]|
//! vᵀ f(A) v ≈ ‖v‖² Σ_i y_i[1]² f(θ_i),   exact for polynomials of degree ≤ 2m − 1
//! ```
//!
//! An eigenvalue that occurs several times is found once: the vectors reached from one start have one
//! direction in each eigenspace.
//!
//! Sources: Golub & Meurant (2010), Matrices, Moments and Quadrature; Ghorbani, Krishnan & Xiao (2019),
//! arXiv:1901.10159 (densities of Hessians); Hutchinson (1990) for [`trace`].

use ndarray::Array2;
use rand::Rng;

use crate::linalg::eigen::{self, Eigen};
use crate::linalg::kernels::{axpy, dot};
use crate::linalg::svd::NoSpectrum;
use crate::model::Fork;

/// Coordinates that one task works on.
const CHUNK: usize = 1 << 14;

/// What is left of a vector, as a share of it, below which its direction is rounding.
const NOTHING_LEFT: f64 = 1e-13;

/// The Krylov space of a matrix from one vector.
#[derive(Debug)]
pub struct Krylov {
    /// v_1 … v_{m+1}, orthonormal; without the last if nothing is left beyond them
    basis: Vec<Vec<f64>>,
    alpha: Vec<f64>,
    beta: Vec<f64>,
}

impl Krylov {
    /// The space of one vector.
    ///
    /// # Panics
    /// If it is zero or not finite.
    #[must_use]
    pub fn new(start: &[f64]) -> Self {
        let norm = dot(start, start).sqrt();
        assert!(norm > 0.0 && norm.is_finite(), "a direction");
        let first = start.iter().map(|x| x / norm).collect();
        Self { basis: vec![first], alpha: Vec::new(), beta: Vec::new() }
    }

    /// Number of steps done.
    #[must_use]
    pub fn steps(&self) -> usize {
        self.alpha.len()
    }

    /// Whether the space cannot grow: it is invariant.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.basis.len() == self.alpha.len()
    }

    /// One step, with one product; nothing if the space is complete.
    ///
    /// # Errors
    /// What `product` says.
    pub fn step<E>(
        &mut self,
        product: &mut impl FnMut(&[f64]) -> Result<Vec<f64>, E>,
        fork: &impl Fork,
    ) -> Result<(), E> {
        if self.is_complete() {
            return Ok(());
        }
        let m = self.alpha.len();
        let mut w = product(&self.basis[m])?;
        let whole = dot(&w, &w).sqrt();
        let alpha = dot(&w, &self.basis[m]);
        axpy(-alpha, &self.basis[m], &mut w);
        self.alpha.push(alpha);
        if let Some(before) = m.checked_sub(1) {
            axpy(-self.beta[before], &self.basis[before], &mut w);
        }
        // What the recurrence leaves is orthogonal to all others up to rounding. Where taking that away
        // takes much, what is left carries its rounding in turn: a second time.
        let expected = dot(&w, &w).sqrt();
        project_out(&self.basis, &mut w, fork);
        let mut norm = dot(&w, &w).sqrt();
        if norm < 0.7 * expected {
            project_out(&self.basis, &mut w, fork);
            norm = dot(&w, &w).sqrt();
        }
        let scale = self.alpha.iter().chain(&self.beta).fold(whole, |max, x| max.max(x.abs()));
        self.beta.push(norm);
        if norm > NOTHING_LEFT * scale && self.basis.len() < w.len() {
            w.iter_mut().for_each(|x| *x /= norm);
            self.basis.push(w);
        }
        Ok(())
    }

    /// The eigenvalues of T_m, descending, and their vectors.
    ///
    /// # Errors
    /// [`NoSpectrum`] before the first step, or if a product was not finite.
    pub fn ritz(&self) -> Result<Eigen, NoSpectrum> {
        let m = self.alpha.len();
        let entry = |(i, j): (usize, usize)| match i.abs_diff(j) {
            0 => self.alpha[i],
            1 => self.beta[i.min(j)],
            _ => 0.0,
        };
        eigen::symmetric(Array2::from_shape_fn((m, m), entry))
    }

    /// β_m: how much leads out of the space.
    fn last_beta(&self) -> f64 {
        if self.is_complete() { 0.0 } else { self.beta.last().copied().unwrap_or(0.0) }
    }
}

/// `w ← w − V Vᵀ w`, in chunks of coordinates.
fn project_out(basis: &[Vec<f64>], w: &mut [f64], fork: &impl Fork) {
    let chunks = w.len().div_ceil(CHUNK);
    let mut partial = vec![vec![0.0; basis.len()]; chunks];
    dots(basis, w, 0, &mut partial, fork);
    // In the order of the chunks, whoever computed them.
    let mut shares = vec![0.0; basis.len()];
    for partial in &partial {
        shares.iter_mut().zip(partial).for_each(|(share, x)| *share += x);
    }
    subtract(basis, &shares, w, 0, fork);
}

fn dots(basis: &[Vec<f64>], w: &[f64], first: usize, found: &mut [Vec<f64>], fork: &impl Fork) {
    if let [found] = found {
        for (v, found) in basis.iter().zip(found) {
            *found = dot(&v[first..first + w.len()], w);
        }
    } else {
        let half = found.len() / 2;
        let (left, right) = w.split_at(half * CHUNK);
        let (found_left, found_right) = found.split_at_mut(half);
        fork.both(
            || dots(basis, left, first, found_left, fork),
            || dots(basis, right, first + half * CHUNK, found_right, fork),
        );
    }
}

fn subtract(basis: &[Vec<f64>], shares: &[f64], w: &mut [f64], first: usize, fork: &impl Fork) {
    let chunks = w.len().div_ceil(CHUNK);
    if chunks <= 1 {
        for (v, share) in basis.iter().zip(shares) {
            axpy(-share, &v[first..first + w.len()], w);
        }
    } else {
        let half = chunks / 2 * CHUNK;
        let (left, right) = w.split_at_mut(half);
        fork.both(
            || subtract(basis, shares, left, first, fork),
            || subtract(basis, shares, right, first + half, fork),
        );
    }
}

/// An eigenvalue with its vector and how well they fit.
#[derive(Debug, Clone, PartialEq)]
pub struct Eigenpair {
    pub value: f64,
    /// Of unit length; the largest component is positive
    pub vector: Vec<f64>,
    /// `‖A v − λ v‖`
    pub residual: f64,
}

/// Why there are no eigenvalues.
#[derive(Debug)]
pub enum Stopped<E> {
    /// A product failed
    Product(E),
    /// The small matrix has none
    Spectrum(NoSpectrum),
}

/// The `count` largest eigenvalues, descending, from one start vector.
///
/// Steps until each residual is at most `tolerance` times the largest |eigenvalue|, or `most` steps are
/// done; what the residuals are is said, not promised.
///
/// # Errors
/// [`Stopped`].
pub fn top<E>(
    start: &[f64],
    count: usize,
    (tolerance, most): (f64, usize),
    product: &mut impl FnMut(&[f64]) -> Result<Vec<f64>, E>,
    fork: &impl Fork,
) -> Result<Vec<Eigenpair>, Stopped<E>> {
    /// Steps between two looks at the residuals.
    const LOOK: usize = 10;
    let mut space = Krylov::new(start);
    loop {
        space.step(product, fork).map_err(Stopped::Product)?;
        let done = space.is_complete() || space.steps() >= most;
        if !done && (space.steps() < 2 * count || !space.steps().is_multiple_of(LOOK)) {
            continue;
        }
        let ritz = space.ritz().map_err(Stopped::Spectrum)?;
        let m = space.steps();
        let residual = |i: usize| space.last_beta() * ritz.vectors[[m - 1, i]].abs();
        let scale = ritz.values.iter().fold(0.0f64, |max, value| max.max(value.abs()));
        let count = count.min(m);
        if !done && !(0..count).all(|i| residual(i) <= tolerance * scale) {
            continue;
        }
        return Ok((0..count)
            .map(|i| {
                let mut vector = vec![0.0; start.len()];
                for (v, y) in space.basis.iter().zip(ritz.vectors.column(i)) {
                    axpy(*y, v, &mut vector);
                }
                let largest =
                    vector.iter().fold(0.0f64, |l, x| if x.abs() > l.abs() { *x } else { l });
                if largest < 0.0 {
                    vector.iter_mut().for_each(|x| *x = -*x);
                }
                Eigenpair { value: ritz.values[i], vector, residual: residual(i) }
            })
            .collect());
    }
}

/// A node of the spectral density and its weight; the weights of a probe sum to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Node {
    pub node: f64,
    pub weight: f64,
}

/// What one random vector says of a spectrum.
#[derive(Debug, Clone, PartialEq)]
pub struct Probe {
    /// `n vᵀ A v / ‖v‖²`: its mean over probes is the trace
    pub trace: f64,
    /// Ascending
    pub nodes: Vec<Node>,
}

/// Gauss quadrature of the spectral density seen from one vector, by so many Lanczos steps.
///
/// # Errors
/// [`Stopped`].
pub fn quadrature<E>(
    start: &[f64],
    steps: usize,
    product: &mut impl FnMut(&[f64]) -> Result<Vec<f64>, E>,
    fork: &impl Fork,
) -> Result<Probe, Stopped<E>> {
    let mut space = Krylov::new(start);
    for _ in 0..steps {
        space.step(product, fork).map_err(Stopped::Product)?;
    }
    let ritz = space.ritz().map_err(Stopped::Spectrum)?;
    let weight = |i: usize| ritz.vectors[[0, i]].powi(2);
    let nodes = ritz.values.iter().enumerate().rev();
    Ok(Probe {
        trace: start.len() as f64 * space.alpha[0],
        nodes: nodes.map(|(i, node)| Node { node: *node, weight: weight(i) }).collect(),
    })
}

/// Independent signs, each ±1 with probability ½.
pub fn rademacher(len: usize, rng: &mut impl Rng) -> Vec<f64> {
    let mut signs = Vec::with_capacity(len);
    while signs.len() < len {
        let bits = rng.next_u64();
        let some = (0..64).map(|bit| if bits >> bit & 1 == 1 { 1.0 } else { -1.0 });
        signs.extend(some.take(len - signs.len()));
    }
    signs
}

/// Hutchinson's estimate of a trace and its standard error; no error from a single probe.
///
/// With signs as probes the variance of one is `2(‖A‖_F² − Σ_i A_ii²)`.
#[must_use]
pub fn trace(probes: &[Probe]) -> (f64, Option<f64>) {
    let n = probes.len() as f64;
    let mean = probes.iter().map(|probe| probe.trace).sum::<f64>() / n;
    let squares: f64 = probes.iter().map(|probe| (probe.trace - mean).powi(2)).sum();
    (mean, (probes.len() > 1).then(|| (squares / (n - 1.0) / n).sqrt()))
}

#[cfg(test)]
mod tests;
