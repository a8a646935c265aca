//! All claims of one run: from its tables, and a few of its checkpoints, to findings.

use std::collections::{BTreeMap, BTreeSet};

use super::families::Families;
use super::series::FrequencyStatistic;
use super::tables::{RunTables, Tables};
use super::{blind, planes, weights};
use crate::archive::Run;
use crate::claims::course::{Course, Gap, Outcome, Series};
use crate::claims::curse::Walks;
use crate::claims::detector::Scores;
use crate::claims::judge::{
    self, AtDrop, Capacity, Deadline, Detected, Known, OfWalks, Origin, Rates, StepMean,
};
use crate::claims::rules::{RATES, Rules};
use crate::claims::stats::mean;
use crate::claims::verdict::{Finding, Lack, Verdict};
use crate::pipeline::run::{RunContext, Subject};
use crate::tables::{ArrowRow, Status};

/// All claims, in the order of the essay.
pub const CLAIMS: [&str; 16] = [
    "C1", "C2", "C3a", "C3b", "C4a", "C4b", "C5", "C6", "C7", "C8", "C9", "C10", "C11", "C12",
    "C13", "C14",
];

/// The findings of one run.
#[derive(Debug)]
pub struct Judged {
    pub run: String,
    /// By claim
    pub findings: BTreeMap<&'static str, Finding>,
    pub capacity: Capacity,
    /// How clearly the blind detector sees its frequencies; empty where it was not used
    pub scores: Scores,
}

/// What is the same for all runs.
#[derive(Debug, Clone, Copy)]
pub struct Bench<'a> {
    pub rules: &'a Rules,
    pub tables: &'a Tables,
    pub families: &'a Families<'a>,
}

impl<'a> Bench<'a> {
    /// Judge a run.
    #[must_use]
    pub fn judge(&self, run: &'a Run) -> Judged {
        let case = Case { bench: *self, run, tables: self.tables.of(&run.name) };
        let (findings, scores) = match case.course() {
            Ok(course) => {
                let detected = case.detected(&course);
                let scores = detected.as_ref().map(|found| found.scores.clone());
                (case.findings(&course, &detected), scores.unwrap_or_default())
            }
            Err(gap) => {
                let all = CLAIMS.iter().map(|claim| (*claim, gap.clone().into()));
                (all.collect(), Scores::default())
            }
        };
        let (run, capacity) = (run.name.clone(), case.capacity());
        let mut judged = Judged { run, findings, capacity, scores };
        let of = |claim: &str| judged.findings.get(claim).map_or(Verdict::Undecided, |f| f.verdict);
        judged.capacity.verdicts = [of("C3a"), of("C4b"), of("C7")];
        judged.findings.insert("C10", judged.capacity.finding(self.rules));
        judged
    }
}

/// One run, and everything about it.
struct Case<'a> {
    bench: Bench<'a>,
    run: &'a Run,
    tables: RunTables<'a>,
}

/// Why there is no series.
pub(super) fn no_table(what: &str, command: &str) -> Gap {
    Gap(Lack::Missing, format!("no {what} in the tables: `{command}` makes it"))
}

impl<'a> Case<'a> {
    fn rules(&self) -> &'a Rules {
        self.bench.rules
    }

    /// Why there are no rows of a table: it was put aside, or never made.
    fn without(&self, table: &str, what: &str, command: &str) -> Gap {
        let reason = self.bench.tables.aside.get(table);
        reason.map_or_else(|| no_table(what, command), |why| Gap(Lack::Missing, why.clone()))
    }

    /// Phases and keys.
    fn course(&self) -> Result<Course, Gap> {
        let measured = self.tables.steps();
        let Some(last) = measured.last() else {
            return Err(no_table("progress of this run", "groundswell analyze"));
        };
        // A save that could not be read is one that is missing, not one that was never made.
        let saved = self.run.checkpoints.iter().filter_map(|saved| i64::try_from(saved.step).ok());
        let steps: BTreeSet<i64> = saved.chain(measured.iter().copied()).collect();
        if let Some(later) = steps.last().filter(|later| *later > last) {
            let reason = format!(
                "the archive has saves up to step {later}, table progress up to {last}: `groundswell analyze` again"
            );
            return Err(Gap(Lack::Missing, reason));
        }
        let steps = steps.into_iter().collect();
        if let Some(problem) = self.bench.tables.sources.differs(self.run) {
            return Err(Gap(Lack::Missing, problem));
        }
        let phases = self.tables.phases();
        let of_keys = |run: &Run| self.bench.tables.of(&run.name).of_keys(run);
        let (keys, plain) = match self.tables.of_keys(self.run) {
            Ok(found) => (found.keys, found.plain),
            Err(Status::NoKeys) => (Vec::new(), Vec::new()),
            Err(status) => {
                let reason = format!("no key frequencies: {}", status.name());
                return Err(Gap(Lack::Missing, reason));
            }
        };
        let siblings = self.bench.families.siblings(self.run);
        let others = siblings
            .into_iter()
            .filter_map(|other| Some((other.name.clone(), of_keys(other).ok()?.keys)));
        let course = Course { steps, phases, keys, plain, others: others.collect() };
        course.require_final()?;
        Ok(course)
    }

    fn coefficients(&self) -> Result<Series, Gap> {
        let found = self.tables.statistic(FrequencyStatistic::LogitCoefficient);
        found.ok_or_else(|| no_table("logit coefficients", "groundswell analyze"))
    }

    /// Every claim but C10.
    fn findings(
        &self,
        course: &Course,
        detected: &Result<Detected, Gap>,
    ) -> BTreeMap<&'static str, Finding> {
        let rules = self.rules();
        let context = Subject::new(self.run).and_then(Subject::into_network);
        let context = context.map_err(|error| Gap(Lack::Missing, error.to_string()));
        let coefficients = self.coefficients();
        let walks = coefficients.as_ref().map(|series| Walks::new(rules, course, series));
        let with = |judge: &dyn Fn(&Walks<'_>) -> Outcome| match &walks {
            Ok(walks) => judge(walks),
            Err(gap) => Err((*gap).clone()),
        };
        let shares = self.tables.shares();
        let of_shares = |judge: &dyn Fn() -> Outcome| match shares.is_empty() {
            true => Err(self.without("shares", "shares", "groundswell shares")),
            false => judge(),
        };
        let with_tables = |tables: &[&str], judge: &dyn Fn() -> Outcome| {
            let mut aside = tables.iter().filter_map(|table| self.bench.tables.aside.get(*table));
            aside.next().map_or_else(judge, |why| Err(Gap(Lack::Missing, why.clone())))
        };
        let c6 = || judge::c6(rules, course, &planes::patches(self.tables, course));
        let c11 = || judge::c11(rules, course, &planes::widths(self.tables, rules));
        let c14 = || judge::c14(rules, course, &self.tables.lines());
        let order = context.as_ref().ok().map(|context| context.group.order());
        let rates = self.rates(course, order);
        let with_arrow = |judge: &dyn Fn(&Rates, &Walks<'_>) -> Outcome| match &rates {
            Ok(rates) => with(&|walks| judge(rates, walks)),
            Err(gap) => Err(gap.clone()),
        };
        let origins = self.origins(course, context.as_ref(), walks.as_ref().ok());
        let c1 = with(&|walks| {
            let found = context.as_ref().map_err(Gap::clone);
            let exponents =
                found.and_then(|context| weights::embedding_exponents(course, self.run, context));
            let exponents = exponents.as_deref().map_err(Gap::clone);
            judge::c1(rules, course, walks, exponents)
        });
        let c3 = |bounds, name, from| judge::c3(rules, course, &origins, bounds, (name, from));
        let c13 = detected.as_ref().map_err(Gap::clone);
        let c13 = c13.and_then(|found| judge::c13(rules, course, found));
        let outcomes: [(&'static str, Outcome); 15] = [
            ("C1", c1),
            ("C2", of_shares(&|| judge::c2(rules, course, &shares))),
            ("C3a", c3(rules.c3.a, "t_mem", course.t_mem())),
            ("C3b", c3(rules.c3.b, "t_peak", course.t_peak())),
            ("C4a", self.c4a(course)),
            ("C4b", with_arrow(&|rates, walks| judge::c4b(rules, course, rates, walks))),
            ("C5", self.c5(course, context.as_ref().map_err(Gap::clone))),
            ("C6", with_tables(&["surface", "plane_points"], &c6)),
            ("C7", of_shares(&|| judge::c7(rules, course, &shares))),
            ("C8", with_arrow(&|rates, walks| judge::c8(rules, course, rates, walks))),
            ("C9", of_shares(&|| with(&|walks| judge::c9(rules, course, walks.series, &shares)))),
            ("C11", with_tables(&["surface", "curvature"], &c11)),
            ("C12", of_shares(&|| judge::c12(rules, course, &shares))),
            ("C13", c13),
            ("C14", with_tables(&["barriers", "interpolation"], &c14)),
        ];
        let finding = |outcome: Outcome| outcome.unwrap_or_else(Finding::from);
        outcomes.into_iter().map(|(claim, outcome)| (claim, finding(outcome))).collect()
    }

    /// Onsets of the keys, from table `onset`, with their nulls.
    fn origins(
        &self,
        course: &Course,
        context: Result<&RunContext, &Gap>,
        coefficients: Option<&Walks<'_>>,
    ) -> BTreeMap<String, Result<Origin, Gap>> {
        let rule = &self.rules().c3;
        let units = [("t_mem", course.t_mem(), rule.a), ("t_peak", course.t_peak(), rule.b)];
        let deadlines: Vec<Deadline> = units
            .into_iter()
            .filter_map(|(name, unit, bounds)| Some(Deadline { name, unit: unit.ok()?, bounds }))
            .collect();
        let split = |until: i64| {
            let context = context.map_err(Gap::clone)?;
            weights::split_sample(self.rules(), course, self.run, context, until)
        };
        let of = |statistic: FrequencyStatistic| -> Result<Origin, Gap> {
            let row = self.tables.onset(statistic.name());
            let row =
                row.ok_or_else(|| self.without("onset", "onset of it", "groundswell onset"))?;
            if !matches!(row.status, Status::Ok | Status::NotReached) {
                return Err(Gap(Lack::Missing, format!("its onset is {}", row.status.name())));
            }
            let series = self.tables.statistic(statistic);
            let series = series.ok_or_else(|| {
                self.without(statistic.table(), statistic.source(), statistic.command())
            })?;
            let found = (row.step_onset, row.threshold);
            let own = Walks::new(self.rules(), course, &series);
            // A rate does not win; what it sums up to does.
            let (walks, of) = match statistic {
                FrequencyStatistic::RateTotal => (coefficients, OfWalks::Growth),
                FrequencyStatistic::LogitCoefficient => (coefficients, OfWalks::Value),
                _ => (Some(&own), OfWalks::Value),
            };
            let walks =
                walks.ok_or_else(|| no_table("logit coefficients", "groundswell analyze"))?;
            let known = Known { series: &series, walks, of };
            let origin = judge::origin(self.rules(), course, &known, found, &deadlines);
            Ok(match statistic {
                FrequencyStatistic::WLNorm => origin.with_split(&deadlines, split),
                _ => origin,
            })
        };
        let wanted = &rule.statistics;
        FrequencyStatistic::ALL
            .iter()
            .filter(|statistic| wanted.iter().any(|name| name == statistic.name()))
            .map(|statistic| (statistic.name().to_owned(), of(*statistic)))
            .collect()
    }

    fn c4a(&self, course: &Course) -> Outcome {
        let mut by_step: BTreeMap<i64, Vec<&ArrowRow>> = BTreeMap::new();
        for row in self.tables.arrow_rows() {
            by_step.entry(row.step).or_default().push(row);
        }
        if by_step.is_empty() {
            return Err(self.without("arrow", "arrow", "groundswell arrow"));
        }
        let saves: Vec<StepMean> = by_step
            .into_iter()
            .map(|(step, rows)| {
                let rates = rows.iter().map(|row| row.rate_ce).collect::<Option<Vec<f64>>>();
                // The same in all rows of a step.
                let of_all =
                    |pick: fn(&ArrowRow) -> Option<f64>| rows.first().and_then(|row| pick(row));
                StepMean {
                    step,
                    rate_ce: rates.and_then(|rates| mean(&rates)),
                    z_label: of_all(|row| row.z_label_mean),
                    z_mirror: of_all(|row| row.z_mirror_mean),
                }
            })
            .collect();
        judge::c4a(self.rules(), course, &saves)
    }

    fn rates(&self, course: &Course, order: Option<usize>) -> Result<Rates, Gap> {
        let mut series = BTreeMap::new();
        let columns: [fn(&ArrowRow) -> Option<f64>; 4] =
            [|row| row.rate_ce, |row| row.rate_adam, |row| row.rate_decay, |row| row.rate_total];
        for (name, column) in RATES.into_iter().zip(columns) {
            if let Some(found) = self.tables.arrow(column) {
                series.insert(name.to_owned(), found);
            }
        }
        if series.is_empty() {
            return Err(self.without("arrow", "arrow", "groundswell arrow"));
        }
        let mut sums: BTreeMap<i64, [f64; 3]> = BTreeMap::new();
        let keys = |row: &&ArrowRow| course.keys.iter().any(|key| *key as i64 == row.frequency);
        for row in self.tables.arrow_rows().filter(keys) {
            let all = row.descent_dot_final.zip(row.gradient_sq).zip(row.distance_sq_final);
            if let Some(((dot, gradient), distance)) = all {
                let sum = sums.entry(row.step).or_default();
                sum.iter_mut().zip([dot, gradient, distance]).for_each(|(sum, x)| *sum += x);
            }
        }
        let cosine = |[dot, gradient, distance]: [f64; 3]| {
            let norm = (gradient * distance).sqrt();
            (norm > 0.0).then(|| dot / norm)
        };
        let cosines = sums.into_iter().filter_map(|(step, sum)| Some((step, cosine(sum)?)));
        let width = series.values().map(|series| series.values.ncols()).max().unwrap_or(0);
        Ok(Rates {
            gradient_share: self.tables.arrow(|row| row.gradient_share),
            cosines: cosines.collect(),
            series,
            order: order.unwrap_or(2 * width + 1),
        })
    }

    fn c5(&self, course: &Course, context: Result<&RunContext, Gap>) -> Outcome {
        let t_drop = course.t_drop()?;
        let row = self.tables.progress().find(|row| row.step == t_drop);
        let weights = context
            .and_then(|context| weights::overlaps(self.rules(), course, self.run, context, t_drop));
        let found = AtDrop {
            accuracy: row.and_then(|row| row.restricted_accuracy_test),
            weights: weights.ok(),
            neurons: self.tables.settled_neurons(t_drop, self.rules().c5.clear),
        };
        judge::c5(self.rules(), course, &found)
    }

    fn detected(&self, course: &Course) -> Result<Detected, Gap> {
        let tables = self.bench.tables;
        let of_twin = |twin: &'a Run| match tables.sources.differs(twin) {
            Some(problem) => Err(problem),
            None => Ok(tables.of(&twin.name)),
        };
        let twins: Vec<_> = self.bench.families.twins(self.run).into_iter().map(of_twin).collect();
        blind::detected(self.rules(), course, self.tables, &twins)
    }

    /// What the same network does with permuted labels, and whether this run may be compared by it.
    fn capacity(&self) -> Capacity {
        Capacity {
            settings: self.bench.families.of_any_size(self.run).to_owned(),
            twin_accuracy: self.twin_accuracy(),
            is_final: self.tables.phases().t_gen.is_some(),
            verdicts: [Verdict::Undecided; 3],
        }
    }

    /// Train accuracy on permuted labels after as many steps as this run. A run on permuted labels that is
    /// shorter says something only if it has learnt them.
    fn twin_accuracy(&self) -> Result<f64, Gap> {
        let families = self.bench.families;
        let twins = || families.twins(self.run).into_iter().next();
        let missing = |reason: &str| Gap(Lack::NoTwin, reason.to_owned());
        let twin = families.twin(self.run).or_else(twins).ok_or_else(|| {
            missing("no run on permuted labels says whether the network could memorise")
        })?;
        if let Some(problem) = self.bench.tables.sources.differs(twin) {
            return Err(missing(&problem));
        }
        let end = self.tables.steps().last().copied().unwrap_or(0);
        let tables = self.bench.tables.of(&twin.name);
        let reached = tables.progress().find(|row| row.step >= end);
        let (step, accuracy) = reached
            .or_else(|| tables.progress().last())
            .and_then(|row| Some((row.step, row.train_accuracy?)))
            .ok_or_else(|| missing("the run on permuted labels has no train accuracy"))?;
        if step < end && accuracy < self.rules().c10.over {
            let reason = format!(
                "the run on permuted labels has {:.1} % at step {step} and ends before step {end}",
                100.0 * accuracy
            );
            return Err(Gap(Lack::NoTwin, reason));
        }
        Ok(accuracy)
    }
}
