//! N5d: whether the frequencies that were high at first are high at last, the lottery ticket.

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;

use super::below;
use crate::claims::stats::{self, Side};

/// Rank correlation of the final values with the initial ones.
#[derive(Debug, Clone, PartialEq)]
pub struct Lottery {
    /// Spearman's
    pub rho: f64,
    /// Share of random orders that correlate as much
    pub p: f64,
    /// Correlations of the random orders
    pub null: Vec<f64>,
}

/// Compare with random orders of the initial values; `None` below three frequencies, or if all values of one
/// save are equal.
///
/// # Panics
/// If there are not as many initial as final values.
#[must_use]
pub fn lottery(initial: &[f64], last: &[f64], draws: usize, seed: u64) -> Option<Lottery> {
    let rho = stats::spearman(initial, last)?;
    let middle = (initial.len() + 1) as f64 / 2.0;
    let centred =
        |values| stats::ranks(values).iter().map(|rank| rank - middle).collect::<Vec<_>>();
    let (mut initial, last) = (centred(initial), centred(last));
    let square = |ranks: &[f64]| ranks.iter().map(|rank| rank * rank).sum::<f64>();
    let scale = (square(&initial) * square(&last)).sqrt();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let mut null = Vec::with_capacity(draws);
    for _ in 0..draws {
        for place in (1..initial.len()).rev() {
            initial.swap(place, below(&mut rng, place + 1));
        }
        // Products of half numbers: exact, so that equal orders have equal correlations.
        null.push(initial.iter().zip(&last).map(|(a, b)| a * b).sum::<f64>() / scale);
    }
    Some(Lottery { rho, p: stats::p_value(rho, &null, Side::Upper)?, null })
}
