//! The rows of one checkpoint: which of the numbers are known, and why not the others.

use super::{Last, Lost, State};
use crate::claims::arrow::{self, Point, Rates, Share};
use crate::fourier;
use crate::model::Transformer;
use crate::model::folded::Folded;
use crate::params::Params;
use crate::pipeline::run::RunContext;
use crate::tables::{ArrowRow, Cell, Row, Status};
use crate::tasks::Batch;

/// What the checkpoints of a run share.
pub(super) struct Around<'a> {
    context: &'a RunContext,
    model: Folded,
    /// The training pairs, in lexicographic order
    pub train: Batch,
    last: &'a Last,
    stopped: &'a dyn Fn() -> bool,
}

/// The rows of a checkpoint of which nothing is known but the reason.
pub(super) fn blank(
    context: &RunContext,
    step: u64,
    status: Status,
) -> impl Iterator<Item = ArrowRow> {
    let keys = context.keys().unwrap_or_default();
    (1..=fourier::frequencies(context.group.order())).map(move |k| ArrowRow {
        run: context.name.clone(),
        step: i64::try_from(step).unwrap_or(i64::MAX),
        frequency: k as i64,
        is_key: keys.contains(&k),
        status,
        ..ArrowRow::default()
    })
}

impl<'a> Around<'a> {
    pub(super) fn new(
        context: &'a RunContext,
        net: &Transformer,
        last: &'a Last,
        stopped: &'a dyn Fn() -> bool,
    ) -> Self {
        // Neighbouring pairs share table rows: in lexicographic order they stay in the cache.
        let mut train = context.data.train.clone();
        train.sort_unstable();
        let train = context.data.batch(&train);
        Self { context, model: Folded::new(net.clone()), train, last, stopped }
    }

    /// Whether rates under permuted labels are wanted at this step.
    pub(super) fn permutes(&self, step: u64) -> bool {
        let RunContext { choices, name, permuted, .. } = self.context;
        choices.permutes_labels_of(name, *permuted) && choices.labels.at.contains(step, u64::MAX)
    }

    /// The rows at weights θ of this step; `next` are those one update later, `optimizer` what is known
    /// of the optimiser before that update, or `problem` why its state cannot be used. `None` if the
    /// work was stopped.
    pub(super) fn rows(
        &self,
        step: u64,
        weights: &Params<f64>,
        next: Option<&Result<Params<f64>, Lost>>,
        optimizer: Option<State>,
        problem: Option<Status>,
        permuted: Option<&[Vec<usize>]>,
    ) -> Option<Vec<ArrowRow>> {
        let group = &self.context.group;
        let mut point = Point::new(&self.model, group, weights, &self.train);
        let mut gradient = point.gradient();
        let layout = weights.layout();
        let of = |values: Vec<f64>| Params::from_values(layout, &values);
        let (mut update, mut decay) = (Err(problem.unwrap_or(Status::NoMoments)), None);
        if let Some(State { optimizer, is_known }) = &optimizer {
            optimizer.mask(&mut gradient.values);
            decay = Some(of(optimizer.decay(&weights.values)));
            update = match next {
                _ if *is_known => Ok(of(optimizer.step(&gradient.values))),
                None => update,
                Some(Err(lost)) => Err(problem.unwrap_or(lost.status)),
                Some(Ok(next)) => {
                    let step = optimizer.step_between(&weights.values, &next.values);
                    step.map(of).ok_or(problem.unwrap_or(Status::NoMoments))
                }
            };
        }
        let rates = Rates::new(&mut point, &gradient, update.as_ref().ok(), decay.as_ref());
        let (z_label, z_label_mean) = match permuted {
            None => (None, None),
            Some(permuted) => {
                let mut others = Vec::new();
                for labels in permuted {
                    if (self.stopped)() {
                        return None;
                    }
                    let mut gradient = point.gradient_under(labels);
                    if let Some(State { optimizer, .. }) = &optimizer {
                        optimizer.mask(&mut gradient.values);
                    }
                    others.push(point.rates(&gradient));
                }
                let mean = arrow::mean_among_labels(&rates.ce, &others);
                (Some(arrow::among_labels(&rates.ce, &others)), mean)
            }
        };
        let total = rates.total.as_deref();
        let z_nonkey = total.map(|total| arrow::among_plain(total, &self.last.plain));
        let both = total.zip(rates.mirror.as_deref());
        let z_mirror = both.map(|(total, mirror)| arrow::among_mirrors(total, mirror, group));
        let z_mirror_mean =
            both.and_then(|(total, mirror)| arrow::mean_over_mirrors(total, mirror, group));
        let way = self.last.weights.found.as_ref().ok().map(|last| {
            let way = last.values.iter().zip(weights.values.iter()).map(|(last, w)| last - w);
            of(way.collect())
        });
        let shares = arrow::shares(&self.context.transform, group, &gradient, way.as_ref());
        let status = self.status(update.err());
        let at = |rates: &Option<Vec<f64>>, i: usize| rates.as_ref().map(|rates| rates[i]);
        let score = |scores: &Option<Vec<Option<f64>>>, i: usize| scores.as_ref()?[i];
        let rows = blank(self.context, step, status).enumerate().map(|(i, row)| {
            let Share { share, sq, dot_final, distance_sq } = shares[i];
            ArrowRow {
                rate_ce: Some(rates.ce[i]),
                rate_adam: at(&rates.adam, i),
                rate_decay: at(&rates.decay, i),
                rate_total: at(&rates.total, i),
                z_nonkey: score(&z_nonkey, i),
                z_mirror: score(&z_mirror, i),
                z_mirror_mean,
                z_label: score(&z_label, i),
                z_label_mean,
                gradient_share: share,
                gradient_sq: Some(sq),
                descent_dot_final: dot_final,
                distance_sq_final: distance_sq,
                ..row
            }
        });
        let rows: Vec<ArrowRow> = rows.collect();
        let is_finite = |row: &ArrowRow| {
            ArrowRow::FIELDS.iter().all(|field| Cell::is_finite(&(field.get)(row)))
        };
        if rows.iter().all(is_finite) {
            return Some(rows);
        }
        Some(blank(self.context, step, Status::Overflow).collect())
    }

    /// The reason that says most: without the final checkpoint, without the optimiser's step, without
    /// keys.
    fn status(&self, no_step: Option<Status>) -> Status {
        match (&self.last.weights.found, self.context.keys(), no_step) {
            (Err(_), _, _) | (_, None, _) => Status::Missing,
            (_, _, Some(status)) => status,
            (_, Some([]), None) => Status::NoKeys,
            _ => Status::Ok,
        }
    }
}
