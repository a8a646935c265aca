//! Table `shares`: which part of the logits the loss owes its fall to.

use ndarray::Array2;
use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use rand_distr::{Distribution, StandardNormal};

use super::losses::circuit_status;
use crate::claims::kernel::{self, Cross};
use crate::claims::parts::Parts;
use crate::claims::path::Deltas;
use crate::claims::shares::Coalitions;
use crate::claims::switch::Scales;
use crate::pipeline::pullback::pull_back;
use crate::pipeline::run::RunContext;
use crate::pipeline::view::View;
use crate::progress::LogitTable;
use crate::tables::{SharesRow, Status};

/// Random vectors by which tangent kernels are compared.
pub const PROBES: usize = 16;

/// Of their generator, ChaCha8.
pub const SEED: u64 = 0;

/// The logits of the checkpoint before, `[p², p]`, or why there are none.
pub type Before = Result<Array2<f64>, Status>;

/// What is measured on one split.
#[derive(Debug, Default)]
struct OfSplit {
    coalitions: Option<Coalitions>,
    deltas: Option<Deltas>,
    scales: Option<Scales>,
}

/// The row of a checkpoint; `before` is `None` for the first of its run.
pub fn row(view: &View<'_>, before: Option<&Before>) -> SharesRow {
    let row = SharesRow { run: view.run.name.clone(), step: view.step(), ..Default::default() };
    let Some(run) = view.network() else {
        return SharesRow { status: Status::UnknownNetwork, ..row };
    };
    let Some(evaluated) = view.evaluation() else {
        return SharesRow { status: view.unusable(), ..row };
    };
    let (Some(circuit), Some(keys), Some(table)) = (&run.circuit, view.keys(), view.logit_table())
    else {
        return SharesRow { status: circuit_status(run), ..row };
    };
    if run.permuted {
        return SharesRow { status: Status::NotPeriodic, ..row };
    }
    if keys.is_empty() {
        return SharesRow { status: Status::NoKeys, ..row };
    }
    let now = Parts::new(evaluated.logits.view(), table, &keys);
    // The same keys for both, also where each checkpoint has its own.
    let earlier = before
        .and_then(|before| before.as_ref().ok())
        .map(|logits| (logits, LogitTable::new(logits.view(), &run.group, run.choices.protocol)));
    let earlier = earlier.as_ref().map(|(logits, table)| Parts::new(logits.view(), table, &keys));
    let of = |inputs: &[usize]| OfSplit {
        coalitions: Coalitions::new(&now, inputs),
        deltas: earlier.as_ref().and_then(|earlier| Deltas::new(earlier, &now, inputs)),
        scales: Scales::new(&now, inputs),
    };
    let (train, test) = (of(&circuit.train), of(&circuit.test));
    let kernel =
        run.has_kernel(view.source.step).then(|| compare(view, run, table, &keys)).flatten();
    let mut status = match before {
        Some(Err(reason)) => *reason,
        _ => circuit_status(run),
    };
    let mut known = |value: Option<f64>| {
        if value.is_some_and(|value| !value.is_finite()) {
            status = Status::Overflow;
        }
        value.filter(|value| value.is_finite())
    };
    let mut value =
        |split: &OfSplit, of: fn(&Coalitions) -> f64| known(split.coalitions.as_ref().map(of));
    let row = SharesRow {
        shapley_key_train: value(&train, Coalitions::shapley_key),
        shapley_key_test: value(&test, Coalitions::shapley_key),
        shapley_rest_train: value(&train, Coalitions::shapley_rest),
        shapley_rest_test: value(&test, Coalitions::shapley_rest),
        interaction_train: value(&train, Coalitions::interaction),
        interaction_test: value(&test, Coalitions::interaction),
        ..row
    };
    let mut delta = |split: &OfSplit, of: fn(&Deltas) -> f64| known(split.deltas.as_ref().map(of));
    let row = SharesRow {
        delta_mean_train: delta(&train, |deltas| deltas.mean),
        delta_mean_test: delta(&test, |deltas| deltas.mean),
        delta_key_train: delta(&train, |deltas| deltas.key),
        delta_key_test: delta(&test, |deltas| deltas.key),
        delta_rest_train: delta(&train, |deltas| deltas.rest),
        delta_rest_test: delta(&test, |deltas| deltas.rest),
        ..row
    };
    let share = |split: &OfSplit| split.coalitions.as_ref().and_then(Coalitions::share_key);
    let closure = |split: &OfSplit| split.deltas.as_ref().and_then(Deltas::closure);
    let finite = |split: &OfSplit| split.scales.as_ref().and_then(Scales::finite);
    let angle = |split: &OfSplit| split.scales.as_ref().and_then(Scales::angle);
    let cross = kernel.as_ref().and_then(|kernel| kernel.cross);
    SharesRow {
        share_key_train: known(share(&train)),
        share_key_test: known(share(&test)),
        closure_train: known(closure(&train)),
        closure_test: known(closure(&test)),
        alpha_train: known(finite(&train).map(|(alpha, _)| alpha)),
        beta_train: known(finite(&train).map(|(_, beta)| beta)),
        alpha_test: known(finite(&test).map(|(alpha, _)| alpha)),
        beta_test: known(finite(&test).map(|(_, beta)| beta)),
        switch_angle_train: known(angle(&train)),
        switch_angle_test: known(angle(&test)),
        gradient_cosine_train: known(kernel.and_then(|kernel| kernel.cosine)),
        kernel_cross_jacobian: known(cross.map(|cross| cross.of_jacobians.value)),
        kernel_cross_jacobian_standard_error: known(cross.map(|cross| cross.of_jacobians.error)),
        kernel_cross: known(cross.map(|cross| cross.of_kernels.value)),
        kernel_cross_standard_error: known(cross.map(|cross| cross.of_kernels.error)),
        status,
        ..row
    }
}

/// What the two parts of the logits have to do with each other by way of the weights.
struct Kernel {
    /// Of the gradients of excluded and of restricted loss, training pairs
    cosine: Option<f64>,
    cross: Option<Cross>,
}

fn compare(
    view: &View<'_>,
    run: &RunContext,
    table: &LogitTable<'_>,
    keys: &[usize],
) -> Option<Kernel> {
    let (params, logits) = (view.params()?, view.evaluation()?.logits.view());
    let (protocol, train) = (run.choices.protocol, &run.circuit.as_ref()?.train);
    let narrow = view.is_narrow().then(|| params.cast::<f32>());
    let pull = |gradients: Vec<Array2<f64>>| match &narrow {
        Some(params) => pull_back(run, params, gradients),
        None => pull_back(run, params, gradients),
    };
    // A cosine knows no scale: gradients of tiny losses are not to leave the range of f32.
    let scaled = |x: Array2<f64>| {
        let largest = x.iter().fold(0.0f64, |largest, x| largest.max(x.abs()));
        if largest > 0.0 { x / largest } else { x }
    };
    let losses = kernel::loss_gradients(logits, table, protocol, keys, train).map(scaled);
    let losses = pull(losses.into());
    let [excluded, restricted] = &losses[..] else { return None };
    let cosine = kernel::cosine(excluded, restricted);

    let mut rng = ChaCha8Rng::seed_from_u64(SEED);
    let mut of = [Vec::new(), Vec::new()];
    for _ in 0..PROBES {
        let probe: Array2<f64> =
            Array2::from_shape_simple_fn(logits.dim(), || StandardNormal.sample(&mut rng));
        let parts = kernel::key_and_rest(probe.view(), &run.group, protocol, keys);
        of.iter_mut().zip(pull(parts.into())).for_each(|(of, found)| of.push(found));
    }
    Some(Kernel { cosine, cross: kernel::cross(&of[0], &of[1]) })
}
