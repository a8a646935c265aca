use std::path::PathBuf;

use ndarray::{ArrayD, IxDyn};

use super::*;
use crate::archive::Dtype;
use crate::pipeline::dynamics::comparison::Loaded;
use crate::pipeline::dynamics::is_parameter;
use crate::pipeline::store::journal::ReadFile;

fn tensor(name: &str, shape: &[usize], scale: f64) -> Tensor {
    let values = |i: IxDyn| scale * ((i[0] * 7 + i[shape.len() - 1] * 3) as f64).sin();
    let values = ArrayD::from_shape_fn(IxDyn(shape), values);
    Tensor { name: name.into(), dtype: Dtype::F32, shape: shape.to_vec(), values }
}

/// The rows between two neighbours, by tensor, with the last of these weights as the final ones.
fn rows(before: &[Tensor], now: &[Tensor], next: &[Tensor]) -> Vec<MovementRow> {
    let leading = next.iter().map(|tensor| final_subspaces(tensor).unwrap()).collect();
    let loaded = |weights: &[Tensor]| Loaded {
        read: ReadFile { file: "f".into(), identity: None, blake3: None },
        weights: Ok(weights.to_vec()),
    };
    let ends = Ends { init: loaded(before), last: loaded(next), leading, failure: None };
    let around = Around { before: Some(Some(before)), next: Some(Some(next)), ends: &ends };
    let (run, path) = ("r".to_owned(), PathBuf::from("f"));
    let checkpoint = CheckpointRef { run, step: 5, path, bytes: 0, blake3: None, is_index: false };
    around.rows(&checkpoint, now).unwrap()
}

#[test]
fn what_cannot_be_compared_says_so() {
    let good = [tensor("a", &[3, 4], 1.0), tensor("b", &[5], 1.0)];
    let moved = [tensor("a", &[3, 4], 2.0), tensor("b", &[5], 2.0)];
    let found = rows(&good, &good, &moved);
    assert_eq!(found.iter().map(|row| row.tensor.as_str()).collect::<Vec<_>>(), ["a", "b", "all"]);
    assert!(found.iter().all(|row| row.status == Status::Ok));
    assert!((found[0].subspace_overlap_final.unwrap() - 1.0).abs() < 1e-12);

    // `a` has another shape afterwards; `b` is as it was.
    let reshaped = [tensor("a", &[4, 3], 1.0), tensor("b", &[5], 1.0)];
    let found = rows(&good, &good, &reshaped);
    for row in [&found[0], &found[2]] {
        assert_eq!((row.status, row.distance_to_final), (Status::ShapeChanged, None));
        assert_eq!((row.distance_from_init, row.cosine_of_steps), (Some(0.0), None));
    }
    assert_eq!(found[0].subspace_overlap_final, None);
    assert_eq!((found[1].status, found[1].distance_to_final), (Status::Ok, Some(0.0)));

    // `b` was not there before: the whole vector is another one.
    let found = rows(&good[..1], &good, &moved);
    assert_eq!((found[0].status, found[1].status), (Status::Ok, Status::Missing));
    assert_eq!((found[2].status, found[2].distance_from_init), (Status::Missing, None));
    // Nor if there was more before.
    let found = rows(&good, &good[..1], &good[..1]);
    assert_eq!((found[0].status, found[1].status), (Status::Ok, Status::Missing));
    assert_eq!((found[1].distance_from_init, found[1].distance_to_final), (None, Some(0.0)));
}

/// A tensor called `all` does not take the place of the rows about everything.
#[test]
fn names_are_data() {
    let all = [tensor("all", &[2, 2], 1.0), tensor("x.mask", &[2], 1.0)];
    let found = rows(&all, &all, &all);
    let names: Vec<_> = found.iter().map(|row| row.tensor.as_str()).collect();
    assert_eq!(names, ["x.mask", "all"]);
    assert!(!is_parameter("x.mask") && !is_parameter("IGNORE") && is_parameter("mask.w"));
}

#[test]
fn too_large_and_not_finite() {
    let huge = [tensor("a", &[3, 4], 1e200)];
    let small = [tensor("a", &[3, 4], 1.0)];
    let found = rows(&small, &huge, &small);
    for row in &found {
        assert_eq!((row.status, row.distance_from_init), (Status::Overflow, None));
    }
    assert!(found[0].subspace_overlap_final.is_some(), "its directions are known");
    let mut bad = small.clone();
    bad[0].values[[1, 1]] = f64::NAN;
    let found = rows(&small, &bad, &small);
    assert!(found.iter().all(|row| row.status == Status::NonFinite));
    assert_eq!((found[0].distance_from_init, found[0].subspace_overlap_final), (None, None));
}
