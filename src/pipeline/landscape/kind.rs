//! Which planes there are, what they are called, and how far a grid on them reaches.

use std::str::FromStr;

use rand::SeedableRng;
use rand_chacha::ChaCha8Rng;
use serde_json::{Value, json};

use super::components::components;
use super::curvature::two_largest;
use super::place::{Place, StepName};
use super::{load, step_of};
use crate::archive::{Archive, CheckpointRef, Run};
use crate::error::{Error, Result};
use crate::landscape::filters::{self, Vectors};
use crate::landscape::plane::{Axis, NoPlane, Plane, Projection};
use crate::pipeline::pool;
use crate::pipeline::run::RunContext;

/// A plane by what it goes through.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PlaneKind {
    /// Three checkpoints
    Three([Place; 3]),
    /// Two random directions from a checkpoint, with the scale of its filters
    Random { seed: u64, centre: StepName },
    /// The two leading principal components of the trajectory, about its mean
    Pca,
    /// Eigenvectors of the two largest eigenvalues of the Hessian of the train loss at a checkpoint
    Hessian { centre: StepName },
}

impl FromStr for PlaneKind {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        let unknown = || Error::UnknownName {
            kind: "plane",
            found: text.into(),
            known: ["three:A,B,C", "random:SEED", "random:SEED@STEP", "pca", "hessian:STEP"]
                .map(str::to_owned)
                .into(),
        };
        if text == "pca" {
            return Ok(Self::Pca);
        }
        let (kind, rest) = text.split_once(':').ok_or_else(unknown)?;
        match kind {
            "three" => {
                let places = rest.split(',').map(str::parse).collect::<Result<Vec<Place>>>()?;
                places.try_into().map(Self::Three).map_err(|places: Vec<Place>| {
                    let problem = format!("{} checkpoints, not three", places.len());
                    Error::setting("plane", problem, "three:first,memorised,last, for example")
                })
            }
            "random" => {
                let (seed, centre) = rest.split_once('@').unwrap_or((rest, "last"));
                let seed = seed.parse().map_err(|_| unknown())?;
                Ok(Self::Random { seed, centre: centre.parse()? })
            }
            "hessian" => Ok(Self::Hessian { centre: rest.parse()? }),
            _ => Err(unknown()),
        }
    }
}

/// A plane of a run, and what is to be said about it.
#[derive(Debug)]
pub struct Basis {
    /// As in the tables: steps by number
    pub name: String,
    pub plane: Plane,
    /// For the metadata
    pub about: Vec<(&'static str, Value)>,
    /// Where the plane goes through checkpoints: they belong on the grid
    pub corners: Vec<[f64; 2]>,
    /// Whether the grid should hold the whole trajectory
    pub holds_trajectory: bool,
}

impl PlaneKind {
    /// The plane of this run.
    ///
    /// # Errors
    /// As [`super::planes::plane`].
    pub fn basis(
        &self,
        archive: &Archive,
        run: &Run,
        context: &RunContext,
        vectors: Vectors,
        threads: usize,
    ) -> Result<Basis> {
        match self {
            Self::Three(places) => three(archive, run, context, places),
            Self::Random { seed, centre } => {
                random(centre.checkpoint(run)?, context, *seed, vectors)
            }
            Self::Pca => pca(run, context),
            Self::Hessian { centre } => {
                let centre = centre.checkpoint(run)?;
                pool(threads)?.install(|| hessian(centre, context))
            }
        }
    }
}

/// A plane that does not exist, said of a run.
fn refused(context: &RunContext) -> impl FnOnce(NoPlane) -> Error + '_ {
    |why| {
        let help = "choose checkpoints that do not lie on a line";
        Error::setting("plane", format!("{}: {why}", context.name), help)
    }
}

fn three(archive: &Archive, run: &Run, context: &RunContext, places: &[Place; 3]) -> Result<Basis> {
    let (mut names, mut points) = (Vec::new(), Vec::new());
    for place in places {
        let there = place.run(archive, run)?;
        let checkpoint = place.step.checkpoint(there)?;
        points.push(load(checkpoint, context)?);
        let step = checkpoint.step;
        let other = there.name != run.name;
        names.push(if other { format!("{}:{step}", there.name) } else { step.to_string() });
    }
    let [a, b, c] = [&points[0].values, &points[1].values, &points[2].values];
    let plane = Plane::through(a, b, c).map_err(refused(context))?;
    let corners = points.iter().map(|point| plane.project(&point.values));
    Ok(Basis {
        name: format!("three:{}", names.join(",")),
        corners: corners.map(|corner| [corner.x, corner.y]).collect(),
        plane,
        about: vec![("origin", names[0].clone().into()), ("directions", "Gram-Schmidt".into())],
        holds_trajectory: true,
    })
}

fn random(
    centre: &CheckpointRef,
    context: &RunContext,
    seed: u64,
    vectors: Vectors,
) -> Result<Basis> {
    let weights = load(centre, context)?;
    let layout = context.net.layout();
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let [first, second] = [(); 2].map(|()| {
        let mut direction = filters::gaussian(layout, &mut rng);
        filters::normalise(&mut direction, &weights.values, layout, vectors);
        direction
    });
    let plane = Plane::new(weights.values.to_vec(), first, second).map_err(refused(context))?;
    let cosine = plane.cosine();
    Ok(Basis {
        name: format!("random:{seed}@{}", centre.step),
        plane: plane.orthogonal(),
        about: vec![
            ("origin", step_of(centre).into()),
            ("directions", "Gaussian, filter-normalised, then orthogonalised".into()),
            ("seed", seed.into()),
            ("generator", "ChaCha8".into()),
            ("on_vectors", vectors.name().into()),
            ("cosine_before", cosine.into()),
        ],
        corners: Vec::new(),
        holds_trajectory: false,
    })
}

fn pca(run: &Run, context: &RunContext) -> Result<Basis> {
    let finite: Vec<&CheckpointRef> = run
        .checkpoints
        .iter()
        .filter(|checkpoint| {
            let weights = load(checkpoint, context);
            weights.is_ok_and(|weights| weights.values.iter().all(|value| value.is_finite()))
        })
        .collect();
    if finite.len() < 3 {
        let problem = format!("{}: {} usable checkpoints", context.name, finite.len());
        return Err(Error::setting("plane", problem, "principal components need three"));
    }
    let found = components(&finite, context)?;
    let [first, second] = found.directions;
    let plane = Plane::new(found.mean, first, second).map_err(refused(context))?;
    Ok(Basis {
        name: "pca".into(),
        plane,
        about: vec![
            ("origin", "weighted mean of the checkpoints".into()),
            ("directions", "principal components of the trajectory".into()),
            ("weights", "time".into()),
            ("explained", json!(found.explained)),
            ("explained_by_random_walk", json!(found.random_walk)),
        ],
        corners: Vec::new(),
        holds_trajectory: true,
    })
}

/// Weights farther away could not be squared and summed.
const MOST_EXTENT: f64 = 1e60;

fn hessian(centre: &CheckpointRef, context: &RunContext) -> Result<Basis> {
    let found = two_largest(centre, context)?;
    let weights = load(centre, context)?;
    let [first, second] = found.map(|pair| (pair.vector, [pair.value, pair.residual]));
    let plane = Plane::new(weights.values.to_vec(), first.0, second.0).map_err(refused(context))?;
    Ok(Basis {
        name: format!("hessian:{}", centre.step),
        plane,
        about: vec![
            ("origin", step_of(centre).into()),
            ("directions", "eigenvectors of the Hessian of the train loss".into()),
            ("eigenvalues", json!([first.1[0], second.1[0]])),
            ("residuals", json!([first.1[1], second.1[1]])),
        ],
        corners: Vec::new(),
        holds_trajectory: false,
    })
}

/// How far the grid reaches.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Extent {
    /// From −r to r along both directions, in their lengths
    Radius(f64),
    /// What the plane is about, and a margin: this share of the longer side. For planes about one
    /// point, [`Extent::Radius`] 1.
    Box { margin: f64 },
}

impl Extent {
    /// Refuse a grid of no area.
    ///
    /// # Errors
    /// [`Error::Setting`].
    pub fn check(self) -> Result<()> {
        let usable = |value: f64, least: bool| value.is_finite() && least && value < MOST_EXTENT;
        match self {
            Self::Radius(radius) if !usable(radius, radius > 0.0) => {
                let problem = format!("{radius} is not in (0, {MOST_EXTENT:e})");
                Err(Error::setting("radius", problem, "1 is usual for random directions"))
            }
            Self::Box { margin } if !usable(margin, margin >= 0.0) => {
                let problem = format!("{margin} is not in [0, {MOST_EXTENT:e})");
                Err(Error::setting("margin", problem, "0.2 is usual"))
            }
            _ => Ok(()),
        }
    }

    /// The sides of the grid.
    #[must_use]
    pub fn axes(self, basis: &Basis, trajectory: &[Projection], points: usize) -> (Axis, Axis) {
        let square = |r: f64| Axis { from: -r, to: r, points };
        let margin = match self {
            Self::Radius(radius) => return (square(radius), square(radius)),
            Self::Box { margin } => margin,
        };
        let mut inside = basis.corners.clone();
        if basis.holds_trajectory {
            inside.extend(trajectory.iter().map(|place| [place.x, place.y]));
        }
        let tight = |side: usize| Axis::around(inside.iter().map(|at| at[side]), 0.0, points);
        let (Some(x), Some(y)) = (tight(0), tight(1)) else { return (square(1.0), square(1.0)) };
        let margin = margin * (x.to - x.from).max(y.to - y.from);
        let wider = |axis: Axis| Axis { from: axis.from - margin, to: axis.to + margin, points };
        (wider(x), wider(y))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn planes_have_names() {
        let parse = |text: &str| text.parse::<PlaneKind>();
        assert_eq!(parse("pca").unwrap(), PlaneKind::Pca);
        let random = |seed, centre| PlaneKind::Random { seed, centre };
        assert_eq!(parse("random:7").unwrap(), random(7, StepName::Last));
        assert_eq!(parse("random:7@memorised").unwrap(), random(7, StepName::Memorised));
        let three = parse("three:first,a:7,last").unwrap();
        let PlaneKind::Three([_, second, _]) = three else { panic!("{three:?}") };
        assert_eq!(second.to_string(), "a:7");
        assert!(parse("three:1,2").unwrap_err().to_string().contains("2 checkpoints, not three"));
        let unknown = parse("radnom:7").unwrap_err();
        assert!(unknown.to_string().starts_with("unknown plane `radnom:7`"), "{unknown}");
        assert!(parse("random:x").is_err());
        let hessian = PlaneKind::Hessian { centre: StepName::Number(50) };
        assert_eq!(parse("hessian:50").unwrap(), hessian);
    }
}
