//! What the claims need of a folder of tables, by run.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use super::aside::aside;
use super::series::{Frequencies, FrequencyStatistic, Sources, gather};
use crate::archive::{Archive, Run};
use crate::claims::course::Series;
use crate::claims::judge::{Line, ShareSave};
use crate::claims::phases::Phases;
use crate::claims::rules::Rules;
use crate::error::Result;
use crate::pipeline::output::Output;
use crate::tables::{
    ArrowRow, BarrierRow, CurvatureRow, InterpolationRow, NeuronRow, OnsetRow, PlanePointRow,
    ProgressRow, Row, SharesRow, Status, SurfaceRow,
};

/// Rows by run.
#[derive(Debug)]
struct ByRun<R>(HashMap<String, Vec<R>>);

impl<R: Row> ByRun<R> {
    fn read(output: &Output, run: impl Fn(&R) -> &str) -> Result<Self> {
        let mut found: HashMap<String, Vec<R>> = HashMap::new();
        for row in output.rows::<R>()? {
            match found.get_mut(run(&row)) {
                Some(rows) => rows.push(row),
                None => drop(found.insert(run(&row).to_owned(), vec![row])),
            }
        }
        Ok(Self(found))
    }

    /// The same, or no rows of a table that was put aside.
    fn read_unless(
        aside: &BTreeMap<&'static str, String>,
        output: &Output,
        run: impl Fn(&R) -> &str,
    ) -> Result<Self> {
        if aside.contains_key(R::TABLE) {
            Ok(Self(HashMap::new()))
        } else {
            Self::read(output, run)
        }
    }

    fn of(&self, run: &str) -> &[R] {
        self.0.get(run).map_or(&[], Vec::as_slice)
    }
}

/// All tables that claims are judged by.
#[derive(Debug)]
pub struct Tables {
    pub sources: Sources,
    neurons: ByRun<NeuronRow>,
    shares: ByRun<SharesRow>,
    onset: ByRun<OnsetRow>,
    surface: ByRun<SurfaceRow>,
    plane_points: ByRun<PlanePointRow>,
    interpolation: ByRun<InterpolationRow>,
    barriers: ByRun<BarrierRow>,
    curvature: ByRun<CurvatureRow>,
    /// Tables that are not there, and the command that writes each
    pub missing: Vec<(&'static str, &'static str)>,
    /// Tables that are there and do not belong to the others, with the reason; they count as absent
    pub aside: BTreeMap<&'static str, String>,
}

/// Which command writes a table.
const MAKERS: [(&str, &str); 10] = [
    ("progress", "groundswell analyze"),
    ("frequencies", "groundswell analyze"),
    ("fourier", "groundswell analyze"),
    ("neurons", "groundswell analyze"),
    ("arrow", "groundswell arrow"),
    ("shares", "groundswell shares"),
    ("onset", "groundswell onset"),
    ("surface", "groundswell landscape --plane"),
    ("barriers", "groundswell landscape --from … --to …"),
    ("curvature", "groundswell landscape --curvature"),
];

impl Tables {
    /// Read them.
    ///
    /// # Errors
    /// What is wrong with one of the files; a table that is not there is no error.
    pub fn read(output: &Output, archive: &Archive, rules: &Rules) -> Result<Self> {
        let missing = MAKERS.into_iter().filter(|(table, _)| !output.has(table)).collect();
        let aside = aside(output.manifest(), archive, rules);
        let mut sources = Sources::read(output)?;
        if aside.contains_key(ArrowRow::TABLE) {
            sources.arrow.clear();
        }
        Ok(Self {
            sources,
            neurons: ByRun::read(output, |row: &NeuronRow| &row.run)?,
            shares: ByRun::read_unless(&aside, output, |row: &SharesRow| &row.run)?,
            onset: ByRun::read_unless(&aside, output, |row: &OnsetRow| &row.run)?,
            surface: ByRun::read_unless(&aside, output, |row: &SurfaceRow| &row.run)?,
            plane_points: ByRun::read_unless(&aside, output, |row: &PlanePointRow| &row.run)?,
            interpolation: ByRun::read_unless(&aside, output, |row: &InterpolationRow| &row.run)?,
            barriers: ByRun::read_unless(&aside, output, |row: &BarrierRow| &row.run)?,
            curvature: ByRun::read_unless(&aside, output, |row: &CurvatureRow| &row.run)?,
            missing,
            aside,
        })
    }

    /// These sources, and no other table.
    #[cfg(test)]
    pub fn of_sources(sources: Sources) -> Self {
        fn none<R>() -> ByRun<R> {
            ByRun(HashMap::new())
        }
        Self {
            sources,
            neurons: none(),
            shares: none(),
            onset: none(),
            surface: none(),
            plane_points: none(),
            interpolation: none(),
            barriers: none(),
            curvature: none(),
            missing: Vec::new(),
            aside: BTreeMap::new(),
        }
    }

    /// Those of a run.
    #[must_use]
    pub fn of<'a>(&'a self, run: &'a str) -> RunTables<'a> {
        RunTables { tables: self, run }
    }
}

/// The tables of one run.
#[derive(Debug, Clone, Copy)]
pub struct RunTables<'a> {
    tables: &'a Tables,
    pub run: &'a str,
}

impl<'a> RunTables<'a> {
    /// Table `progress`.
    pub fn progress(self) -> impl Iterator<Item = &'a ProgressRow> {
        self.tables.sources.progress.iter().filter(move |row| row.run == self.run)
    }

    /// Steps that have a row in `progress`.
    #[must_use]
    pub fn steps(self) -> Vec<i64> {
        self.progress().map(|row| row.step).collect()
    }

    /// The phases.
    #[must_use]
    pub fn phases(self) -> Phases {
        self.tables.sources.phases(self.run)
    }

    /// The key frequencies of a run, and those that they are compared with.
    ///
    /// # Errors
    /// Why there are none.
    pub fn of_keys(self, run: &Run) -> Result<Frequencies, Status> {
        self.tables.sources.of_keys(run)
    }

    /// A statistic of every frequency.
    #[must_use]
    pub fn statistic(self, statistic: FrequencyStatistic) -> Option<Series> {
        self.tables.sources.series(self.run, statistic)
    }

    /// A column of table `arrow`, of every frequency.
    #[must_use]
    pub fn arrow(self, of: impl Fn(&ArrowRow) -> Option<f64>) -> Option<Series> {
        gather(self.arrow_rows().map(|row| (row.step, row.frequency, of(row))))
    }

    /// Table `arrow`.
    pub fn arrow_rows(self) -> impl Iterator<Item = &'a ArrowRow> {
        self.tables.sources.arrow.iter().filter(move |row| row.run == self.run)
    }

    /// The row of table `onset` for the keys together.
    #[must_use]
    pub fn onset(self, statistic: &str) -> Option<&'a OnsetRow> {
        let rows = self.tables.onset.of(self.run).iter();
        rows.into_iter().find(|row| row.statistic == statistic && row.target == "keys")
    }

    /// Table `shares`.
    #[must_use]
    pub fn shares(self) -> Vec<ShareSave> {
        let save = |row: &SharesRow| ShareSave {
            step: row.step,
            share_key_train: row.share_key_train,
            share_key_test: row.share_key_test,
            explained_train: row
                .shapley_key_train
                .zip(row.shapley_rest_train)
                .map(|(key, rest)| key + rest),
            interaction_train: row.interaction_train,
            deltas_train: row
                .delta_mean_train
                .zip(row.delta_key_train)
                .zip(row.delta_rest_train)
                .map(|((mean, key), rest)| [mean, key, rest]),
            closure_train: row.closure_train,
            angle_test: row.switch_angle_test,
            gradient_cosine: row.gradient_cosine_train,
            kernel_cross: row
                .kernel_cross_jacobian
                .zip(row.kernel_cross_jacobian_standard_error)
                .map(|(value, error)| [value, error]),
        };
        self.tables.shares.of(self.run).iter().map(save).collect()
    }

    /// Share of the neurons that have a clear frequency at the last step, and have it at this one.
    #[must_use]
    pub fn settled_neurons(self, step: i64, clear: f64) -> Option<f64> {
        let rows = self.tables.neurons.of(self.run);
        let last = self.progress().last()?.step;
        let at = |step: i64| rows.iter().filter(move |row| row.step == step);
        let now: HashMap<i64, i64> =
            at(step).filter_map(|row| Some((row.neuron, row.frequency?))).collect();
        at(step).next()?;
        let settled: Vec<(i64, i64)> = at(last)
            .filter(|row| row.fve >= Some(clear))
            .filter_map(|row| Some((row.neuron, row.frequency?)))
            .collect();
        let same = settled.iter().filter(|(neuron, k)| now.get(neuron) == Some(k)).count();
        (!settled.is_empty()).then(|| same as f64 / settled.len() as f64)
    }

    /// Names of the planes of table `surface`.
    #[must_use]
    pub fn planes(self) -> BTreeSet<&'a str> {
        self.tables.surface.of(self.run).iter().map(|row| row.plane.as_str()).collect()
    }

    /// A plane's rows, by i and j.
    #[must_use]
    pub fn surface(self, plane: &str) -> Vec<&'a SurfaceRow> {
        self.tables.surface.of(self.run).iter().filter(|row| row.plane == plane).collect()
    }

    /// Where a checkpoint is on a plane.
    #[must_use]
    pub fn plane_point(self, plane: &str, step: i64) -> Option<&'a PlanePointRow> {
        let rows = self.tables.plane_points.of(self.run).iter();
        rows.into_iter().find(|row| row.plane == plane && row.step == step)
    }

    /// Lines with a barrier, and with the loss at both ends: within the run, and to the last checkpoints of
    /// others. Of several alignments of one line, that of the lowest barrier.
    #[must_use]
    pub fn lines(self) -> Vec<Line> {
        let points = self.tables.interpolation.of(self.run);
        let mut ends: HashMap<(i64, i64, &str, &str), Vec<f64>> = HashMap::new();
        for row in points.iter().filter(|row| row.alpha <= 0.0 || row.alpha >= 1.0) {
            let key = (row.from_step, row.to_step, row.to_run.as_str(), row.alignment.as_str());
            ends.entry(key).or_default().extend(row.train_loss);
        }
        let mut found: BTreeMap<(i64, i64, &str), Line> = BTreeMap::new();
        for row in self.tables.barriers.of(self.run) {
            let key = (row.from_step, row.to_step, row.to_run.as_str(), row.alignment.as_str());
            let end = ends.get(&key).filter(|losses| losses.len() == 2);
            let end = end.and_then(|losses| losses.iter().copied().reduce(f64::max));
            let (Some(barrier), Some(end)) = (row.barrier_linear, end) else { continue };
            let elsewhere = (row.to_run != row.run).then(|| row.to_run.clone());
            let last = || self.tables.of(&row.to_run).progress().last().map(|last| last.step);
            if elsewhere.is_some() && last() != Some(row.to_step) {
                continue;
            }
            let line = Line { from: row.from_step, to: row.to_step, elsewhere, barrier, end };
            let place = found.entry((key.0, key.1, key.2)).or_insert_with(|| line.clone());
            if line.barrier < place.barrier {
                *place = line;
            }
        }
        found.into_values().collect()
    }

    /// Trace of the Hessian of a loss, by step.
    #[must_use]
    pub fn traces(self, loss: &str) -> BTreeMap<i64, f64> {
        let rows = self.tables.curvature.of(self.run).iter();
        let rows = rows.filter(|row| row.loss == loss && row.index == 0);
        rows.filter_map(|row| Some((row.step, row.trace?))).collect()
    }
}
