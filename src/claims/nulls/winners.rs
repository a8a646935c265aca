//! N5, the winner's curse: what is common to [`walks`](super::walks) and [`paths`](super::paths).
//!
//! The keys are those frequencies that won, so they look early by selection: among many that do not
//! differ, whoever ends high has often been high before. Here as many frequencies as the run has move
//! from the first save to the last, the highest |K| of them at the end are taken, and what they look like
//! on the way is the null.
//!
//! Keys and winners are compared by their *contrast*: their mean less the mean of the others. A drift that
//! all frequencies share cancels, also the one that the others have because those that rose were taken away.
//!
//! The measured others are not all of them: harmonics of the keys and what passes the key rule in W_E are left
//! out, and these may be the next-highest, which makes the contrast larger. So the others of a draw are
//! taken in two ways: all of them; and those that have, at the end, the same places in the order of the others
//! as the plain frequencies have among the measured ones. The larger contrast counts.

use ndarray::{Array2, ArrayView2};

use super::mean_of;

/// Fewer plain frequencies than this are no sample.
pub const FEWEST: usize = 8;

/// Frequencies of which the keys won.
#[derive(Debug, Clone, Copy)]
pub struct Contest<'a> {
    /// `[save, frequency]`
    pub series: ArrayView2<'a, f64>,
    pub keys: &'a [usize],
    /// Those that the keys are compared with
    pub plain: &'a [usize],
    /// Contrasts are kept of so many saves, from the first on; the last save decides who wins all the same
    pub kept: usize,
}

impl Contest<'_> {
    /// The measured contrast, `[save]`: mean of the keys less the mean of the plain frequencies. Empty if
    /// there are none of either.
    #[must_use]
    pub fn contrast(&self) -> Vec<f64> {
        let of_save = |values| Some(mean_of(values, self.keys)? - mean_of(values, self.plain)?);
        self.series.rows().into_iter().take(self.kept).filter_map(of_save).collect()
    }

    /// Who is compared with whom; `None` without keys, with fewer than [`FEWEST`] plain frequencies or fewer
    /// than two saves.
    pub(super) fn places(&self) -> Option<Places> {
        let (saves, walks) = self.series.dim();
        let winners = self.keys.len();
        if winners == 0 || winners >= walks || self.plain.len() < FEWEST || saves < 2 {
            return None;
        }
        let last = self.series.row(saves - 1);
        let mut others: Vec<usize> = (1..=walks).filter(|k| !self.keys.contains(k)).collect();
        others.sort_by(|a, b| last[b - 1].total_cmp(&last[a - 1]));
        let is_plain = |(_, k): &(usize, usize)| self.plain.contains(k);
        let compared = others.into_iter().enumerate().filter(is_plain);
        let compared = compared.map(|(place, _)| winners + place).collect();
        Some(Places { winners, walks, compared })
    }
}

/// Places in the descending order of the end, from 0; the first are the winners'.
pub(super) struct Places {
    pub winners: usize,
    pub walks: usize,
    /// Of those that the winners are compared with
    pub compared: Vec<usize>,
}

impl Places {
    /// Of those that they are not compared with.
    pub fn left_out(&self) -> Vec<usize> {
        (self.winners..self.walks).filter(|place| !self.compared.contains(place)).collect()
    }
}

/// What the winners of every draw looked like.
#[derive(Debug, Clone, PartialEq)]
pub struct Winners {
    /// Contrasts, `[draw, save]`: with all others; and, where frequencies are left out, without those of
    /// their places
    contrasts: Vec<Array2<f64>>,
}

impl Winners {
    pub(super) fn new(contrasts: Vec<Array2<f64>>) -> Self {
        Self { contrasts }
    }

    /// A number of the contrast in every draw: the larger one, where others are left out. Draws in which it is
    /// undefined are left away.
    pub fn numbers(&self, number: impl Fn(&[f64]) -> Option<f64>) -> Vec<f64> {
        let draws = self.contrasts.first().map_or(0, Array2::nrows);
        let of_draw = |draw: usize| {
            let rows = self.contrasts.iter().map(|all| all.row(draw));
            rows.filter_map(|row| number(row.as_slice().expect("row-major"))).reduce(f64::max)
        };
        (0..draws).filter_map(of_draw).collect()
    }

    /// The contrast at a save, `[draw]`.
    #[must_use]
    pub fn at(&self, save: usize) -> Vec<f64> {
        self.numbers(|contrast| contrast.get(save).copied())
    }
}

/// Thresholds for a mean, as those for the contrast: less the mean of the plain frequencies.
#[must_use]
pub fn contrast_thresholds(
    series: ArrayView2<'_, f64>,
    plain: &[usize],
    thresholds: &[Option<f64>],
) -> Vec<Option<f64>> {
    let rows = series.rows().into_iter().zip(thresholds);
    rows.map(|(values, threshold)| Some((*threshold)? - mean_of(values, plain)?)).collect()
}
