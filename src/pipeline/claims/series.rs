//! From the rows of tables to the arrays of [`crate::claims`].

use std::collections::BTreeMap;

use ndarray::Array2;

use crate::archive::{Archive, Run};
use crate::claims::course::Series;
use crate::claims::nulls::plain_frequencies;
use crate::claims::nulls::split::keys_of;
use crate::claims::phases::{Phases, Save};
use crate::config::names::named_enum;
use crate::error::Result;
use crate::fourier;
use crate::pipeline::output::Output;
use crate::progress::Group;
use crate::tables::{
    ArrowRow, Cell, CheckpointRow, FourierRow, FrequencyRow, ProgressRow, Row, Status,
};

named_enum! {
    /// A number that every frequency has at every save.
    FrequencyStatistic, "statistic":
    /// `frequencies.logit_coefficient`
    LogitCoefficient = "logit_coefficient",
    /// `fourier.norm` of `W_E`
    WENorm = "w_e_norm",
    /// `fourier.norm` of `W_L`
    WLNorm = "w_l_norm",
    /// `frequencies.neuron_share`
    NeuronShare = "neuron_share",
    /// `arrow.rate_total`
    RateTotal = "rate_total",
}

impl FrequencyStatistic {
    /// Whether it is positive, so that its logarithm is what is compared.
    #[must_use]
    pub fn is_positive(self) -> bool {
        matches!(self, Self::WENorm | Self::WLNorm | Self::NeuronShare)
    }

    /// The command that writes the table with it.
    #[must_use]
    pub fn command(self) -> &'static str {
        match self {
            Self::RateTotal => "groundswell arrow",
            _ => "groundswell analyze",
        }
    }

    /// The name of that table.
    #[must_use]
    pub fn table(self) -> &'static str {
        self.source().split_once('.').map_or("", |(table, _)| table)
    }

    /// That table, and its column.
    #[must_use]
    pub fn source(self) -> &'static str {
        match self {
            Self::LogitCoefficient => "frequencies.logit_coefficient",
            Self::WENorm | Self::WLNorm => "fourier.norm",
            Self::NeuronShare => "frequencies.neuron_share",
            Self::RateTotal => "arrow.rate_total",
        }
    }
}

/// The tables that statistics are taken from; of `fourier` the rows of `W_E` and `W_L` alone.
#[derive(Debug, Clone, Default)]
pub struct Sources {
    pub checkpoints: Vec<CheckpointRow>,
    pub progress: Vec<ProgressRow>,
    pub frequencies: Vec<FrequencyRow>,
    pub fourier: Vec<FourierRow>,
    pub arrow: Vec<ArrowRow>,
}

/// What is known of the frequencies of one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Frequencies {
    /// The keys, fixed by the final checkpoint
    pub keys: Vec<usize>,
    /// Those that the keys are compared with, as N1 allows
    pub plain: Vec<usize>,
}

/// The names of the tables in [`Sources`].
pub const TABLES: [&str; 5] = [
    CheckpointRow::TABLE,
    ProgressRow::TABLE,
    FrequencyRow::TABLE,
    FourierRow::TABLE,
    ArrowRow::TABLE,
];

/// A column by its name, where the table has it.
fn column<R: Row>(name: &str) -> Option<impl Fn(&R) -> Option<f64> + use<R>> {
    let field = R::FIELDS.iter().find(|field| field.column.name == name)?;
    Some(move |row: &R| match (field.get)(row) {
        Cell::Float64(value) => Some(value),
        _ => None,
    })
}

impl Sources {
    /// Read what is there of the tables; a table that is not has no rows.
    ///
    /// # Errors
    /// [`crate::Error::Read`], [`crate::Error::TableFile`] for one that is damaged.
    pub fn read(output: &Output) -> Result<Self> {
        let mut fourier = output.rows::<FourierRow>()?;
        fourier.retain(|row| ["W_E", "W_L"].contains(&row.object.as_str()));
        Ok(Self {
            checkpoints: output.rows()?,
            progress: output.rows()?,
            frequencies: output.rows()?,
            fourier,
            arrow: output.rows()?,
        })
    }

    /// Why the rows of this run are not about its checkpoints: one has another digest than the archive's
    /// manifest says, or there are rows of none.
    #[must_use]
    pub fn differs(&self, run: &Run) -> Option<String> {
        let name = &run.name;
        let mut rows = self.checkpoints.iter().filter(|row| row.run == *name).peekable();
        if rows.peek().is_none() && self.progress.iter().all(|row| row.run != *name) {
            return Some(format!("{name}: the tables have no rows of it"));
        }
        let other = rows.find(|row| {
            let own = run.checkpoints.iter().find(|c| i64::try_from(c.step).ok() == Some(row.step));
            let digest = own.and_then(|own| own.blake3.as_ref());
            digest.zip(row.blake3.as_ref()).is_some_and(|(own, measured)| own != measured)
        })?;
        Some(format!("{name}: step {} of the tables is of another checkpoint", other.step))
    }

    /// The saves of a run.
    #[must_use]
    pub fn saves(&self, run: &str) -> Vec<Save> {
        let own = self.progress.iter().filter(|row| row.run == run);
        own.map(|row| Save {
            step: row.step,
            train_accuracy: row.train_accuracy,
            test_loss: row.test_loss,
            test_accuracy: row.test_accuracy,
        })
        .collect()
    }

    /// The same over the held-out pairs whose swap is no training pair, where the table has them.
    fn unswapped(&self, run: &str) -> Option<Vec<Save>> {
        let loss = column::<ProgressRow>("test_loss_unswapped")?;
        let accuracy = column::<ProgressRow>("test_accuracy_unswapped")?;
        let own = self.progress.iter().filter(|row| row.run == run);
        let saves: Vec<Save> = own
            .map(|row| Save {
                step: row.step,
                train_accuracy: None,
                test_loss: loss(row),
                test_accuracy: accuracy(row),
            })
            .collect();
        saves.iter().any(|save| save.test_loss.is_some()).then_some(saves)
    }

    /// When the phases of a run begin; judged by the later drop where both are known.
    #[must_use]
    pub fn phases(&self, run: &str) -> Phases {
        let saves = self.saves(run);
        match self.unswapped(run) {
            Some(unswapped) => Phases::judged_by_the_later(&saves, &unswapped),
            None => Phases::new(&saves),
        }
    }

    /// The keys of a run, and what they are compared with.
    ///
    /// # Errors
    /// Why there are none: `not_periodic`, `no_keys`, `missing`, or what the rows say.
    pub fn of_keys(&self, run: &Run) -> Result<Frequencies, Status> {
        let rows = || self.progress.iter().filter(|row| row.run == run.name);
        let Some(keys) = rows().filter_map(|row| row.key_frequencies.as_ref()).next_back() else {
            return Err(rows().next_back().map_or(Status::Missing, |row| row.status));
        };
        let keys: Vec<usize> = keys.split(',').filter_map(|k| k.parse().ok()).collect();
        if keys.is_empty() {
            return Err(Status::NoKeys);
        }
        let (task, modulus) = match &run.info {
            Some(info) => (Some(info.config.task), Some(info.config.modulus)),
            None => (run.facts.task, run.facts.modulus),
        };
        let group = task.zip(modulus).and_then(|(task, p)| Group::of(task, p));
        let order = group.ok_or(Status::UnknownNetwork)?.order();
        // A network without W_E has no rule for it.
        let w_e = self.series(&run.name, FrequencyStatistic::WENorm);
        let last = w_e.as_ref().and_then(|w_e| w_e.values.rows().into_iter().next_back());
        let in_w_e = last.map(|norms| keys_of(&norms.to_vec())).unwrap_or_default();
        if keys.last() > Some(&fourier::frequencies(order)) {
            return Err(Status::ShapeChanged);
        }
        Ok(Frequencies { plain: plain_frequencies(&keys, &in_w_e, order), keys })
    }

    /// A statistic of a run; `None` where no save has it.
    #[must_use]
    pub fn series(&self, run: &str, statistic: FrequencyStatistic) -> Option<Series> {
        let of_frequencies = |name: &str| {
            let get = column::<FrequencyRow>(name)?;
            let own = self.frequencies.iter().filter(|row| row.run == run);
            gather(own.map(|row| (row.step, row.frequency, get(row))))
        };
        let of_object = |object: &str| {
            let own = self
                .fourier
                .iter()
                .filter(|row| row.run == run && row.object == object && row.frequency > 0);
            gather(own.map(|row| (row.step, row.frequency, row.norm)))
        };
        match statistic {
            FrequencyStatistic::LogitCoefficient => of_frequencies("logit_coefficient"),
            FrequencyStatistic::NeuronShare => of_frequencies("neuron_share"),
            FrequencyStatistic::WENorm => of_object("W_E"),
            FrequencyStatistic::WLNorm => of_object("W_L"),
            FrequencyStatistic::RateTotal => {
                let own = self.arrow.iter().filter(|row| row.run == run);
                gather(own.map(|row| (row.step, row.frequency, row.rate_total)))
            }
        }
    }

    /// Runs that the tables have and the archive has not.
    #[must_use]
    pub fn strangers(&self, archive: &Archive) -> Vec<String> {
        let mut names: Vec<&str> = self.progress.iter().map(|row| row.run.as_str()).collect();
        names.dedup();
        names.retain(|name| archive.runs.iter().all(|run| run.name != *name));
        names.into_iter().map(str::to_owned).collect()
    }
}

/// Cells `(step, frequency, value)` as a series.
pub(super) fn gather(cells: impl Iterator<Item = (i64, i64, Option<f64>)>) -> Option<Series> {
    let mut saves: BTreeMap<i64, BTreeMap<i64, f64>> = BTreeMap::new();
    let mut last = 0;
    for (step, frequency, value) in cells {
        last = last.max(frequency);
        if let Some(value) = value {
            saves.entry(step).or_default().insert(frequency, value);
        }
    }
    let last = usize::try_from(last).ok()?;
    saves.retain(|_, values| values.len() == last);
    let steps: Vec<i64> = saves.keys().copied().collect();
    let values: Vec<f64> = saves.into_values().flat_map(BTreeMap::into_values).collect();
    let values = Array2::from_shape_vec((steps.len(), last), values).ok()?;
    (!steps.is_empty()).then_some(Series { steps, values })
}

#[cfg(test)]
mod tests {
    use ndarray::array;

    use super::*;

    #[test]
    fn saves_with_a_gap_are_left_out() {
        let cells = [
            (10, 1, Some(3.0)),
            (10, 2, Some(4.0)),
            (0, 2, Some(2.0)),
            (0, 1, Some(1.0)),
            (20, 1, None),
            (20, 2, Some(9.0)),
        ];
        let found = gather(cells.into_iter()).unwrap();
        assert_eq!(found, Series { steps: vec![0, 10], values: array![[1.0, 2.0], [3.0, 4.0]] });
        assert_eq!(gather([(0, 1, None)].into_iter()), None);
        assert_eq!(gather(std::iter::empty()), None);
    }

    #[test]
    fn every_statistic_knows_its_column() {
        let float = |table: &str, name: &str| match table {
            "frequencies" => column::<FrequencyRow>(name).is_some(),
            "fourier" => column::<FourierRow>(name).is_some(),
            _ => column::<ArrowRow>(name).is_some(),
        };
        for statistic in FrequencyStatistic::ALL {
            let (table, name) = statistic.source().split_once('.').unwrap();
            assert!(TABLES.contains(&table));
            // `neuron_share` comes with another table version.
            assert!(float(table, name) || name == "neuron_share", "{statistic}");
        }
    }
}
