//! All claims of one run: from its tables, and a few of its checkpoints, to findings.

use std::collections::BTreeMap;

use super::families::Families;
use super::series::FrequencyStatistic;
use super::tables::{RunTables, Tables};
use crate::archive::Run;
use crate::claims::course::{Course, Gap, Outcome, Series, Walks};
use crate::claims::detector::{Detector, Statistic, auc};
use crate::claims::judge::{
    self, AtDrop, Capacity, Deadline, Detected, OfWalks, Origin, Patch, Rates, Site, StepMean,
    StepWidths, radius,
};
use crate::claims::rules::{RATES, Rules};
use crate::claims::stats::mean;
use crate::claims::verdict::{Finding, Lack, Verdict};
use crate::landscape::basins::Surface;
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
        let findings = match case.course() {
            Ok(course) => case.findings(&course),
            Err(gap) => CLAIMS.iter().map(|claim| (*claim, gap.clone().into())).collect(),
        };
        let mut judged = Judged { run: run.name.clone(), findings, capacity: case.capacity() };
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
fn no_table(what: &str, command: &str) -> Gap {
    Gap(Lack::Missing, format!("no {what} in the tables: `{command}` makes it"))
}

impl<'a> Case<'a> {
    fn rules(&self) -> &'a Rules {
        self.bench.rules
    }

    /// Phases and keys.
    fn course(&self) -> Result<Course, Gap> {
        let steps = self.tables.steps();
        if steps.is_empty() {
            return Err(no_table("progress of this run", "groundswell analyze"));
        }
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
    fn findings(&self, course: &Course) -> BTreeMap<&'static str, Finding> {
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
            true => Err(no_table("shares", "groundswell shares")),
            false => judge(),
        };
        let order = context.as_ref().ok().map(|context| context.group.order());
        let rates = self.rates(course, order);
        let with_arrow = |judge: &dyn Fn(&Rates, &Walks<'_>) -> Outcome| match &rates {
            Ok(rates) => with(&|walks| judge(rates, walks)),
            Err(gap) => Err(gap.clone()),
        };
        let origins = self.origins(course, walks.as_ref().ok());
        let c1 = with(&|walks| {
            let found = context.as_ref().map_err(Gap::clone);
            let exponents = found
                .and_then(|context| super::weights::embedding_exponents(course, self.run, context));
            let exponents = exponents.as_deref().map_err(Gap::clone);
            judge::c1(rules, course, walks, exponents)
        });
        let c3 = |bounds, name, from| judge::c3(rules, course, &origins, bounds, (name, from));
        let outcomes: [(&'static str, Outcome); 15] = [
            ("C1", c1),
            ("C2", of_shares(&|| judge::c2(rules, course, &shares))),
            ("C3a", c3(rules.c3.a, "t_mem", course.t_mem())),
            ("C3b", c3(rules.c3.b, "t_peak", course.t_peak())),
            ("C4a", self.c4a(course)),
            ("C4b", with_arrow(&|rates, walks| judge::c4b(rules, course, rates, walks))),
            ("C5", self.c5(course, context.as_ref().map_err(Gap::clone))),
            ("C6", judge::c6(rules, course, &self.patches(course))),
            ("C7", of_shares(&|| judge::c7(rules, course, &shares))),
            ("C8", with_arrow(&|rates, walks| judge::c8(rules, course, rates, walks))),
            ("C9", of_shares(&|| with(&|walks| judge::c9(rules, course, walks.series, &shares)))),
            ("C11", judge::c11(rules, course, &self.widths())),
            ("C12", of_shares(&|| judge::c12(rules, course, &shares))),
            ("C13", self.detected(course).and_then(|found| judge::c13(rules, course, &found))),
            ("C14", judge::c14(rules, course, &self.tables.lines())),
        ];
        let finding = |outcome: Outcome| outcome.unwrap_or_else(Finding::from);
        outcomes.into_iter().map(|(claim, outcome)| (claim, finding(outcome))).collect()
    }

    /// Onsets of the keys, from table `onset`, with their nulls.
    fn origins(
        &self,
        course: &Course,
        coefficients: Option<&Walks<'_>>,
    ) -> BTreeMap<String, Result<Origin, Gap>> {
        let rule = &self.rules().c3;
        let units = [("t_mem", course.t_mem(), rule.a), ("t_peak", course.t_peak(), rule.b)];
        let deadlines: Vec<Deadline> = units
            .into_iter()
            .filter_map(|(name, unit, bounds)| Some(Deadline { name, unit: unit.ok()?, bounds }))
            .collect();
        let of = |statistic: FrequencyStatistic| -> Result<Origin, Gap> {
            let row = self.tables.onset(statistic.name());
            let row = row.ok_or_else(|| no_table("onset of it", "groundswell onset"))?;
            if !matches!(row.status, Status::Ok | Status::NotReached) {
                return Err(Gap(Lack::Missing, format!("its onset is {}", row.status.name())));
            }
            let series = self.tables.statistic(statistic);
            let series = series.ok_or_else(|| no_table(statistic.source(), statistic.command()))?;
            let found = (row.step_onset, row.threshold);
            let own = Walks::new(self.rules(), course, &series);
            // A rate does not win; what it sums up to does.
            let walked = match statistic {
                FrequencyStatistic::RateTotal => (coefficients, OfWalks::Growth),
                FrequencyStatistic::LogitCoefficient => (coefficients, OfWalks::Value),
                _ => (Some(&own), OfWalks::Value),
            };
            let walks =
                walked.0.ok_or_else(|| no_table("logit coefficients", "groundswell analyze"))?;
            let walked = (walks, walked.1);
            Ok(judge::origin(self.rules(), course, &series, walked, found, &deadlines))
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
            return Err(no_table("arrow", "groundswell arrow"));
        }
        let saves: Vec<StepMean> = by_step
            .into_iter()
            .map(|(step, rows)| {
                let of = |pick: fn(&ArrowRow) -> Option<f64>| {
                    let known: Option<Vec<f64>> = rows.iter().map(|row| pick(row)).collect();
                    mean(&known?)
                };
                StepMean {
                    step,
                    rate_ce: of(|row| row.rate_ce),
                    z_label: of(|row| row.z_label),
                    z_mirror: of(|row| row.z_mirror),
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
            return Err(no_table("arrow", "groundswell arrow"));
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
        let weights = context.and_then(|context| {
            super::weights::overlaps(self.rules(), course, self.run, context, t_drop)
        });
        let found = AtDrop {
            accuracy: row.and_then(|row| row.restricted_accuracy_test),
            weights: weights.ok(),
            neurons: self.tables.settled_neurons(t_drop, self.rules().c5.clear),
        };
        judge::c5(self.rules(), course, &found)
    }

    /// The planes that C6 is about.
    fn patches(&self, course: &Course) -> Vec<Patch> {
        let Ok(t_mem) = course.t_mem() else { return Vec::new() };
        let (first, last) = (course.steps.first(), course.steps.last());
        let (Some(&first), Some(&last)) = (first, last) else { return Vec::new() };
        let on_plane = |plane: &str, step: i64| {
            let point = self.tables.plane_point(plane, step)?;
            let on_it = point.residual_fraction.is_none_or(|residual| residual < 1e-6);
            Some([point.x?, point.y?]).filter(|_| on_it)
        };
        let of = |plane: &str| {
            let site = if plane.starts_with("three:") {
                let [start, memorised, end] = [first, t_mem, last].map(|s| on_plane(plane, s));
                Site::Three { start: start?, memorised: memorised?, end: end? }
            } else {
                random_at(plane).filter(|step| *step == t_mem).map(|_| Site::Random)?
            };
            let rows = self.tables.surface(plane);
            let column = |pick: fn(&crate::tables::SurfaceRow) -> Option<f64>| {
                rows.iter().map(|row| pick(row)).collect::<Vec<_>>()
            };
            Some(Patch {
                name: plane.to_owned(),
                site,
                columns: usize::try_from(rows.iter().map(|row| row.j).max()? + 1).ok()?,
                at: rows.iter().map(|row| [row.x, row.y]).collect(),
                train: column(|row| row.train_loss),
                excluded: column(|row| row.excluded_loss_train),
                restricted: column(|row| row.restricted_loss_all),
            })
        };
        self.tables.planes().into_iter().filter_map(of).collect()
    }

    /// Radii on random planes, and traces, by step.
    fn widths(&self) -> Vec<StepWidths> {
        let rise = self.rules().c11.rise;
        let mut ratios: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
        for plane in self.tables.planes() {
            let Some(step) = random_at(plane) else { continue };
            let rows = self.tables.surface(plane);
            let columns = rows.iter().map(|row| row.j).max().map_or(0, |last| last + 1);
            let nearest = (0..rows.len()).min_by(|a, b| {
                let size = |i: usize| rows[i].x.hypot(rows[i].y);
                size(*a).total_cmp(&size(*b))
            });
            let (Some(centre), Ok(columns)) = (nearest, usize::try_from(columns)) else { continue };
            let of = |pick: fn(&crate::tables::SurfaceRow) -> Option<f64>| {
                let heights: Vec<Option<f64>> = rows.iter().map(|row| pick(row)).collect();
                radius(Surface { columns, heights: &heights }, centre, rise)
            };
            let radii = of(|row| row.restricted_loss_all).zip(of(|row| row.excluded_loss_train));
            if let Some((restricted, excluded)) = radii {
                ratios.entry(step).or_default().push((restricted / excluded).ln());
            }
        }
        let (excluded, restricted) =
            (self.tables.traces("excluded"), self.tables.traces("restricted"));
        let shares: BTreeMap<i64, f64> = self
            .tables
            .shares()
            .iter()
            .filter_map(|save| Some((save.step, save.share_key_train?)))
            .collect();
        let steps: std::collections::BTreeSet<i64> =
            ratios.keys().chain(excluded.keys()).copied().collect();
        let of_step = |step: i64| {
            let traces = excluded.get(&step).zip(restricted.get(&step));
            let flatter = traces.map(|(excluded, restricted)| (excluded / restricted).ln());
            StepWidths {
                step,
                by_radius: ratios.get(&step).and_then(|ratios| mean(ratios)),
                by_trace: flatter.filter(|ratio| ratio.is_finite()),
                share_key: shares.get(&step).copied(),
            }
        };
        steps.into_iter().map(of_step).collect()
    }

    /// The blind detector, against all runs on permuted labels of the family.
    fn detected(&self, course: &Course) -> Result<Detected, Gap> {
        let twins = self.bench.families.twins(self.run);
        let statistics = [
            FrequencyStatistic::WENorm,
            FrequencyStatistic::WLNorm,
            FrequencyStatistic::LogitCoefficient,
            FrequencyStatistic::NeuronShare,
        ];
        let of = |run: &str| -> Vec<(FrequencyStatistic, Option<Series>)> {
            let tables = self.bench.tables.of(run);
            statistics.iter().map(|one| (*one, tables.statistic(*one))).collect()
        };
        let own = of(&self.run.name);
        let theirs: Vec<_> = twins
            .iter()
            .map(|twin| of(&twin.name))
            .filter(|found| found.iter().any(|(_, series)| series.is_some()))
            .collect();
        if theirs.is_empty() {
            let reason = "no run on permuted labels with these settings has tables";
            return Err(Gap(Lack::NoTwin, reason.into()));
        }
        // A statistic takes part if every run has it, at the saves that all of them have.
        let whole = |i: usize| theirs.iter().chain([&own]).all(|run| run[i].1.is_some());
        let usable: Vec<usize> = (0..statistics.len()).filter(|i| whole(*i)).collect();
        let series = |run: &[(FrequencyStatistic, Option<Series>)], i: usize| run[i].1.clone();
        let all: Vec<Vec<Series>> = theirs
            .iter()
            .chain([&own])
            .map(|run| usable.iter().filter_map(|i| series(run, *i)).collect())
            .collect();
        let mut steps = course.steps.clone();
        all.iter().flatten().for_each(|series| {
            steps.retain(|step| series.steps.binary_search(step).is_ok());
        });
        if usable.is_empty() || steps.is_empty() {
            let reason = "the runs on permuted labels have no save in common with this one";
            return Err(Gap(Lack::NoTwin, reason.into()));
        }
        let all: Vec<Vec<Series>> = all
            .into_iter()
            .map(|run| run.into_iter().map(|series| series.at_steps(&steps)).collect())
            .collect();
        let (own, twins) = all.split_last().expect("this run is the last of them");
        let compared: Vec<Statistic<'_>> = usable
            .iter()
            .enumerate()
            .map(|(i, statistic)| Statistic {
                name: statistics[*statistic].name(),
                log: statistics[*statistic].is_positive(),
                own: own[i].values.view(),
                twins: twins.iter().map(|twin| twin[i].values.view()).collect(),
            })
            .collect();
        let rules = self.rules();
        let (level, in_a_row) = (rules.c13.level, rules.nulls.in_a_row);
        let detector = Detector { level, in_a_row, centred: false };
        let found = detector.detect(detector.p_values(&compared).view(), &course.keys);
        let held_out = detector.hold_out(&compared);
        let false_share = |detection: &crate::claims::detector::Detection| {
            let rejected: Vec<f64> =
                detection.rejected.iter().map(|is| f64::from(u8::from(*is))).collect();
            mean(&rejected)
        };
        let of_twins: Vec<f64> = held_out.iter().filter_map(false_share).collect();
        let step = found.save.map(|save| steps[save]);
        let neuron_share = step.and_then(|step| {
            let series = self.tables.statistic(FrequencyStatistic::NeuronShare)?;
            let save = series.steps.binary_search(&step).ok()?;
            Some(series.mean(&course.keys)[save] * course.keys.len() as f64)
        });
        let negative: Vec<f64> = held_out.iter().flat_map(|found| found.score.clone()).collect();
        Ok(Detected {
            step,
            last: steps.last().copied().unwrap_or(0),
            key: found.frequency,
            false_share: mean(&found.others),
            held_out: mean(&of_twins),
            area: auc(&found.score, &negative),
            neuron_share,
            twins: twins.len(),
        })
    }

    /// What the same network does with permuted labels.
    fn capacity(&self) -> Capacity {
        let twin = self.bench.families.twin(self.run);
        let twin = twin.or_else(|| self.bench.families.twins(self.run).into_iter().next());
        let accuracy = twin.and_then(|twin| {
            self.bench.tables.of(&twin.name).progress().last().and_then(|row| row.train_accuracy)
        });
        Capacity { twin_accuracy: accuracy, verdicts: [Verdict::Undecided; 3] }
    }
}

/// The step that a random plane is about.
fn random_at(plane: &str) -> Option<i64> {
    let (_, at) = plane.strip_prefix("random:")?.split_once('@')?;
    at.split(' ').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn random_planes_say_where_they_are() {
        assert_eq!(random_at("random:1@143"), Some(143));
        assert_eq!(random_at("random:1@143 radius 0.5"), Some(143));
        assert_eq!(random_at("three:0,143,40000"), None);
    }
}
