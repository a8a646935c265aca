//! `groundswell landscape --plane`: grids, where checkpoints lie on them, and what happens to a plane
//! that is interrupted.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use groundswell::tables::{
    self, BasinRow, Cell, PlanePointRow, ProgressRow, ResemblanceRow, Row, Status, SurfaceRow,
    TrajectoryRow,
};
use serde_json::Value;

use super::support::*;

fn arguments(archive: &Path, out: &Path, options: &[&str]) -> Vec<OsString> {
    let options = options.iter().map(OsString::from).collect();
    [args!["landscape", archive, "--out", out], options].concat()
}

fn plane(out: &Path, options: &[&str]) -> Ran {
    groundswell(arguments(&fixture("tiny"), out, options))
}

/// What the metadata of a table says about its planes.
fn planes(out: &Path) -> Value {
    let path = out.join("surface.parquet");
    let about = tables::metadata(&path, &fs::read(&path).unwrap()).unwrap();
    serde_json::from_str(&about["planes"]).unwrap()
}

/// Demand two losses within this share of each other: a grid is evaluated in the numbers of its
/// checkpoints, f32, a checkpoint itself in f64.
#[track_caller]
fn close(found: Cell<'_>, expected: Cell<'_>, within: f64) {
    let (Cell::Float64(found), Cell::Float64(expected)) = (found, expected) else {
        panic!("{found} and {expected} are no losses");
    };
    assert!((found / expected - 1.0).abs() < within, "{found} is not {expected}");
}

#[test]
fn three_checkpoints_lie_on_their_plane() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    analyze(&fixture("tiny"), out).exits(0);
    plane(out, &["--plane", "three:first,memorised,last", "--grid", "4"]).exits(0);
    let name = "three:0,300,1200";
    let grid = rows::<SurfaceRow>(out);
    assert_eq!(grid.len(), 16);
    assert!(grid.iter().all(|row| row.plane == name && row.status == Status::Ok));
    let points = rows::<PlanePointRow>(out);
    assert_eq!(points.iter().map(|row| row.step).collect::<Vec<_>>(), TINY_STEPS);
    let at = |step: i64| points.iter().find(|row| row.step == step).unwrap();
    let [x, y] = [|row: &PlanePointRow| row.x.unwrap(), |row: &PlanePointRow| row.y.unwrap()];
    // The first is the origin, the second on the first axis; distances are distances of weights.
    assert_eq!((x(at(0)), y(at(0)), at(0).residual_fraction), (0.0, 0.0, None));
    assert!(y(at(300)).abs() < 1e-12 * x(at(300)));
    let movement = rows::<groundswell::tables::MovementRow>(out);
    for step in [300, 1200] {
        let moved = movement.iter().find(|row| row.step == step && row.tensor == "all").unwrap();
        let distance = moved.distance_from_init.unwrap();
        assert!((x(at(step)).hypot(y(at(step))) / distance - 1.0).abs() < 1e-12);
        assert!(at(step).residual_norm.unwrap() < 1e-12 * distance);
    }
    assert!(at(50).residual_fraction.unwrap() > 0.1, "{:?}", at(50));
    let progress = rows::<ProgressRow>(out);
    for (point, row) in points.iter().zip(&progress) {
        for column in ["train_loss", "test_loss", "excluded_loss_train", "restricted_loss_all"] {
            close(cell(point, column), cell(row, column), 1e-5);
        }
        let projected = point.train_loss_at_projection.unwrap();
        if [0, 300, 1200].contains(&point.step) {
            assert!((projected / row.train_loss.unwrap() - 1.0).abs() < 1e-4);
        }
    }
    // The grid holds every checkpoint.
    for value in [x, y] {
        let (low, high) = points
            .iter()
            .map(value)
            .fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
        assert!(low < high);
    }
    let [first, last] = [&grid[0], &grid[15]];
    for point in &points {
        assert!(first.x < x(point) && x(point) < last.x && first.y < y(point) && y(point) < last.y);
    }
    // Every surface has a lowest basin; the train surface explains itself least by nothing.
    let basins = rows::<BasinRow>(out);
    for loss in ["train_loss", "test_loss", "excluded_loss_train", "restricted_loss_all"] {
        let of_loss: Vec<_> = basins.iter().filter(|row| row.loss == loss).collect();
        let heights = grid.iter().map(|row| match cell(row, loss) {
            Cell::Float64(value) => value,
            other => panic!("{loss} is {other}"),
        });
        let lowest = heights.fold(f64::INFINITY, f64::min);
        assert_eq!(of_loss[0].minimum.to_bits(), lowest.to_bits(), "{loss}");
        assert_eq!((of_loss[0].basin, of_loss[0].saddle), (0, None));
        let ends = of_loss[1..].iter().all(|row| row.depth.unwrap() >= 0.0 && row.width > 0.0);
        assert!(ends, "{of_loss:?}");
    }
    let resemblance = rows::<ResemblanceRow>(out);
    assert_eq!(resemblance.len(), 3 * 4);
    let widest = resemblance.iter().filter(|row| row.points == 16).count();
    assert_eq!(widest, 3, "the whole grid, for each of three losses");
    for row in &resemblance {
        assert!(row.r_squared.is_none_or(|r| (0.0..=1.0).contains(&r)), "{row:?}");
    }
    let about = &planes(out)[format!("tiny {name}")];
    assert!((about["norms"][0].as_f64().unwrap() - 1.0).abs() < 1e-14, "{about}");
    assert!(about["cosine"].as_f64().unwrap().abs() < 1e-14, "{about}");
}

#[test]
fn a_random_plane_is_about_its_checkpoint() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    analyze(&fixture("tiny"), out).exits(0);
    let options = ["--plane", "random:7@memorised", "--grid", "3", "--threads"];
    plane(out, &[&options[..], &["1"]].concat()).exits(0);
    let grid = rows::<SurfaceRow>(out);
    let middle = &grid[4];
    assert_eq!((middle.i, middle.j, middle.x, middle.y), (1, 1, 0.0, 0.0));
    assert_eq!((grid[0].x, grid[0].y, grid[8].x, grid[8].y), (-1.0, -1.0, 1.0, 1.0));
    let progress = rows::<ProgressRow>(out);
    let own = progress.iter().find(|row| row.step == 300).unwrap();
    for column in ["train_loss", "test_loss", "excluded_loss_train", "restricted_loss_all"] {
        close(cell(middle, column), cell(own, column), 1e-4);
    }
    let about = &planes(out)["tiny random:7@300"];
    assert_eq!((&about["seed"], &about["generator"]), (&Value::from(7), &Value::from("ChaCha8")));
    assert_eq!(about["on_vectors"], "zero");
    // Directions with the length of the weights, biases left out.
    let norms = [0, 1].map(|i| about["norms"][i].as_f64().unwrap());
    let weights = own.sum_sq_weights.unwrap().sqrt();
    assert!(norms.iter().all(|norm| (norm / weights - 1.0).abs() < 0.1), "{norms:?} {weights}");

    // Other threads, and a second plane beside the first.
    let again = dir.path().join("again");
    plane(&again, &[&options[..], &["2"]].concat()).exits(0);
    assert_eq!(rows::<SurfaceRow>(&again), grid);
    plane(&again, &["--plane", "random:8@memorised", "--grid", "2", "--vectors", "norm"]).exits(0);
    let both = rows::<SurfaceRow>(&again);
    assert_eq!((both.len(), &both[..9]), (13, &grid[..]));
    assert!(both[9].train_loss != grid[0].train_loss);
}

/// The coordinates on the principal plane are those of table `trajectory`.
#[test]
fn the_principal_plane_is_that_of_the_trajectory() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    analyze(&fixture("tiny"), out).exits(0);
    plane(out, &["--plane", "pca", "--grid", "2"]).exits(0);
    let (points, path) = (rows::<PlanePointRow>(out), rows::<TrajectoryRow>(out));
    let scale = path.iter().map(|row| row.pc1.unwrap().abs()).fold(0.0, f64::max);
    for (point, row) in points.iter().zip(&path) {
        assert!((point.x.unwrap() - row.pc1.unwrap()).abs() < 1e-8 * scale, "{point:?}");
        assert!((point.y.unwrap() - row.pc2.unwrap()).abs() < 1e-8 * scale, "{point:?}");
        let residual = row.pc3.unwrap().hypot(row.residual_norm.unwrap());
        assert!((point.residual_norm.unwrap() - residual).abs() < 1e-7 * scale, "{point:?}");
    }
    let about = &planes(out)["tiny pca"];
    assert_eq!(about["explained"][0].as_f64(), path[0].explained_1);
    assert!(about["explained_by_random_walk"][0].as_f64().unwrap() > 0.1, "{about}");
}

/// Along the steepest directions the loss bends as its eigenvalues say.
#[test]
fn the_hessian_s_plane_bends_as_its_eigenvalues_say() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path();
    plane(out, &["--plane", "hessian:300", "--grid", "3", "--radius", "0.002"]).exits(0);
    let grid = rows::<SurfaceRow>(out);
    let about = &planes(out)["tiny hessian:300 radius 0.002"];
    let loss = |i: usize, j: usize| grid[3 * i + j].train_loss.unwrap();
    for (axis, ends) in [(0, [loss(0, 1), loss(2, 1)]), (1, [loss(1, 0), loss(1, 2)])] {
        let eigenvalue = about["eigenvalues"][axis].as_f64().unwrap();
        let bend = (ends[0] + ends[1] - 2.0 * loss(1, 1)) / (0.002 * 0.002);
        assert!((bend / eigenvalue - 1.0).abs() < 0.2, "axis {axis}: {bend} {eigenvalue}");
    }
}

#[test]
fn a_plane_that_cannot_be_drawn_is_told_with_the_cure() {
    let dir = tempfile::tempdir().unwrap();
    let out = dir.path().join("out");
    let of = |options: &[&str]| plane(&out, options).exits(2);
    of(&["--plane", "pca", "--grid", "1"])
        .says("error[CL03]: grid: 1 is not in 2..=2000")
        .says("help: 51 is usual");
    of(&["--plane", "three:0,50,50"]).mentions(
        "error[CL03]: plane: tiny: the directions are parallel: the angle between them is 0.00e0°",
    );
    of(&["--plane", "three:0,0,50"]).mentions("direction 1 has length 0");
    of(&["--plane", "three:0,20,50"]).mentions("nearest saved steps: 10, 50");
    of(&["--plane", "three:0,50"]).mentions("2 checkpoints, not three");
    of(&["--plane", "pcb"]).mentions("unknown plane `pcb`; did you mean `pca`?");
    of(&["--plane", "random:1", "--radius", "0"]).mentions("radius: 0 is not in (0, 1e60)");
    of(&["--plane", "pca", "--from", "0", "--to", "10"]).mentions("cannot be used with");
    assert!(!out.exists(), "something was created");
}

/// Far out the network leaves the range of the numbers: null with a status, and the rest stays.
#[test]
fn a_plane_that_overflows_keeps_the_rest() {
    let dir = tempfile::tempdir().unwrap();
    let options = ["--plane", "random:1", "--grid", "3", "--radius", "1e50"];
    plane(dir.path(), &options).exits(0);
    let grid = rows::<SurfaceRow>(dir.path());
    for (i, row) in grid.iter().enumerate() {
        let expected = if i == 4 { Status::Ok } else { Status::Overflow };
        assert_eq!((row.status, row.train_loss.is_some()), (expected, i == 4));
    }
    assert_eq!(grid[0].plane, format!("random:1@1200 radius {}", 1e50));
}

/// A checkpoint that cannot be read has a row that says so, and no other row changes.
#[test]
fn a_damaged_checkpoint_costs_its_own_point() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny_without_manifest(dir.path()), dir.path().join("out"));
    let options = ["--plane", "three:0,300,1200", "--grid", "2"];
    groundswell(arguments(&run, &out, &options)).exits(0);
    let before = rows::<PlanePointRow>(&out);
    let damaged = checkpoint(&run, 50);
    fs::write(&damaged, &fs::read(&damaged).unwrap()[..100]).unwrap();
    groundswell(arguments(&run, &out, &options)).exits(3).mentions("1 files unreadable");
    let after = rows::<PlanePointRow>(&out);
    assert_eq!(after[2].status, Status::Unreadable);
    assert_eq!((after[2].x, after[2].train_loss), (None, None));
    let others = |rows: &[PlanePointRow]| {
        rows.iter().filter(|row| row.step != 50).cloned().collect::<Vec<_>>()
    };
    assert_eq!(others(&after), others(&before));
}

/// A plane that is there stays, unless one of its points could not be read; another grid is another plane.
#[test]
fn a_plane_that_is_there_is_not_made_again() {
    let dir = tempfile::tempdir().unwrap();
    let (run, out) = (tiny(dir.path()), dir.path().join("out"));
    let options = ["--plane", "three:0,300,1200", "--grid"];
    let grid =
        |points: &str| groundswell(arguments(&run, &out, &[&options[..], &[points]].concat()));
    let damaged = checkpoint(&run, 50);
    let whole = fs::read(&damaged).unwrap();
    fs::write(&damaged, &whole[..100]).unwrap();
    grid("2").exits(3).mentions("1 files unreadable");
    fs::write(&damaged, &whole).unwrap();
    assert!(grid("2").exits(0).stdout.contains("11 points evaluated\n"));
    assert_eq!(rows::<PlanePointRow>(&out)[2].status, Status::Ok);
    let when = modified(&out);
    assert!(grid("2").exits(0).stdout.contains("nothing to do"));
    assert_eq!(modified(&out), when);
    assert!(grid("3").exits(0).stdout.contains("16 points evaluated\n"));
}

/// Losses of the checkpoints themselves are taken from a plane that is there: the rows of a second plane are
/// those that it has alone.
#[test]
fn what_a_checkpoint_is_does_not_depend_on_the_planes_there() {
    let dir = tempfile::tempdir().unwrap();
    let [out, alone] = ["out", "alone"].map(|name| dir.path().join(name));
    let second = ["--plane", "random:1@50", "--grid", "2"];
    plane(&out, &["--plane", "random:1@300", "--grid", "2"]).exits(0);
    plane(&out, &second).exits(0);
    plane(&alone, &second).exits(0);
    let of_second = |out: &Path| {
        let rows = rows::<PlanePointRow>(out).into_iter();
        rows.filter(|row| row.plane == "random:1@50").collect::<Vec<_>>()
    };
    assert_eq!(of_second(&out), of_second(&alone));
    assert!(of_second(&out).iter().all(|row| row.excluded_loss_train.is_some()));
}

/// Interrupted, the finished rows are kept; the same command ends with the bytes of one that was
/// never interrupted.
#[test]
fn an_interrupted_plane_continues() {
    let dir = tempfile::tempdir().unwrap();
    let [out, whole] = ["out", "whole"].map(|name| dir.path().join(name));
    let options = ["--plane", "random:3@50", "--grid", "151", "--threads", "1"];
    let mut child = command(GROUNDSWELL, arguments(&fixture("tiny"), &out, &options))
        .stdout(std::process::Stdio::piped())
        .stderr(std::process::Stdio::piped())
        .spawn()
        .unwrap();
    let kept = || {
        let shelf = out.join(".groundswell/landscape");
        tree(&shelf).keys().filter(|name| name.ends_with(".json")).count()
    };
    let deadline = Instant::now() + Duration::from_secs(60);
    while !out.join(".groundswell/landscape").exists() || kept() < 3 {
        assert!(
            Instant::now() < deadline && child.try_wait().unwrap().is_none(),
            "no part in time"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let pid = child.id().to_string();
    assert!(std::process::Command::new("kill").args(["-INT", &pid]).status().unwrap().success());
    let ran = Ran::from(child.wait_with_output().unwrap()).exits(130);
    ran.says("help: finished rows are kept; the same command continues");
    assert!(!out.join("surface.parquet").exists());
    let parts = kept();
    assert!((3..152).contains(&parts), "{parts}");
    // One of the parts is damaged meanwhile: it is computed again.
    let shelf = out.join(".groundswell/landscape");
    let files: Vec<String> = tree(&shelf).into_keys().filter(|n| n.ends_with(".json")).collect();
    let part = shelf.join(&files[1]);
    fs::write(&part, &fs::read(&part).unwrap()[..40]).unwrap();

    plane(&out, &options).exits(0).mentions("damaged, computed again");
    plane(&whole, &[&options[..4], &["--threads", "2"]].concat()).exits(0);
    assert_same(&tree(&out), &tree(&whole));
    assert_eq!(rows::<SurfaceRow>(&out).len(), 151 * 151);
    assert_eq!(SurfaceRow::KEY, ["run", "plane", "i", "j"]);
}
