//! `groundswell landscape`.

use std::path::PathBuf;

use super::source::SourceArgs;
use super::{shared_progress, signals, summarise};
use crate::error::Error;
use crate::landscape::filters::Vectors;
use crate::landscape::objective::Loss;
use crate::pipeline::landscape::align::Alignment;
use crate::pipeline::landscape::curvature::{self, Method};
use crate::pipeline::landscape::kind::{Extent, PlaneKind};
use crate::pipeline::landscape::lines::{self, Wanted};
use crate::pipeline::landscape::place::{Place, StepName};
use crate::pipeline::landscape::planes;

/// Losses on lines between checkpoints or on a plane, or the curvature at checkpoints.
///
/// Lines go to tables interpolation and barriers, planes to surface and plane_points, curvature to
/// curvature and spectral_density. A step is a
/// number, or one of: first, last, memorised (train accuracy ≥ 99.9 %), generalised (test accuracy
/// ≥ 99 %). RUN:STEP is a step of the run of that name; without a run, each run of the archive has its
/// own line or plane. Several may be computed into the same folder. A plane that is interrupted keeps
/// its finished rows, and the same command continues.
///
/// Examples:
/// groundswell landscape runs/demo --out tables/ --from memorised --to last;
/// groundswell landscape runs/demo --out tables/ --plane three:first,memorised,last --grid 51
#[derive(Debug, clap::Args)]
pub struct LandscapeArgs {
    /// Folder of a run, or folder with several of them
    #[arg(value_name = "ARCHIVE", value_hint = clap::ValueHint::DirPath)]
    pub archive: PathBuf,

    /// Folder for the tables
    #[arg(long, value_name = "TABLES", value_hint = clap::ValueHint::DirPath)]
    pub out: PathBuf,

    /// Checkpoint at α = 0
    #[arg(long, value_name = "[RUN:]STEP", requires = "to", group = "what")]
    pub from: Option<Place>,

    /// Checkpoint at α = 1
    #[arg(long, value_name = "[RUN:]STEP", requires = "from")]
    pub to: Option<Place>,

    /// Lines from each of these checkpoints to each after it, comma-separated: all barriers between
    /// them
    #[arg(long, value_name = "STEPS", value_delimiter = ',', group = "what")]
    pub between: Vec<Place>,

    /// Lines from each saved checkpoint to the one saved so many saves later
    #[arg(long, value_name = "SAVES", group = "what")]
    pub apart: Option<usize>,

    /// Number of points on a line, both ends included
    #[arg(long, value_name = "N", default_value_t = 25)]
    pub points: usize,

    /// Put neurons and heads of each line's second checkpoint into the order that best matches the
    /// first: for lines between runs
    #[arg(long)]
    pub align: bool,

    /// A plane: three:A,B,C through three checkpoints; random:SEED@STEP along two random directions
    /// with the scale of the filters (without @STEP, at the last); pca along the principal components
    /// of the trajectory; hessian:STEP along the steepest curvature of the train loss
    #[arg(long, value_name = "three:A,B,C|random:SEED|pca|hessian:STEP", group = "what")]
    pub plane: Option<PlaneKind>,

    /// Points on each side of a plane's grid
    #[arg(long, value_name = "N", default_value_t = 51, requires = "plane")]
    pub grid: usize,

    /// A plane's grid reaches from -R to R along both directions, about its origin: A, STEP or the
    /// mean of the checkpoints [default for random: 1, the length of the weights]
    #[arg(long, value_name = "R", requires = "plane")]
    pub radius: Option<f64>,

    /// Otherwise it holds the three points and all checkpoints, and this share of the longer side
    /// around them
    #[arg(
        long,
        value_name = "SHARE",
        default_value_t = 0.2,
        requires = "plane",
        conflicts_with = "radius"
    )]
    pub margin: f64,

    /// What random directions are on biases: zero, or as long as the bias itself
    #[arg(long, value_name = "zero|norm", default_value_t = Vectors::Zero, requires = "plane")]
    pub vectors: Vectors,

    /// Hessians at these checkpoints, comma-separated: largest eigenvalues, trace, spectral density
    #[arg(long, value_name = "STEPS", value_delimiter = ',', group = "what")]
    pub curvature: Vec<StepName>,

    /// Of these losses, comma-separated: train, test, excluded, restricted
    #[arg(
        long,
        value_name = "NAMES",
        value_delimiter = ',',
        default_value = "train",
        requires = "curvature"
    )]
    pub loss: Vec<Loss>,

    /// Number of eigenvalues
    #[arg(long, value_name = "K", default_value_t = Method::default().top, requires = "curvature")]
    pub top: usize,

    /// Random vectors for trace and density
    #[arg(long, value_name = "N", default_value_t = Method::default().probes, requires = "curvature")]
    pub probes: usize,

    /// Lanczos steps from each
    #[arg(long, value_name = "N", default_value_t = Method::default().lanczos, requires = "curvature")]
    pub lanczos: usize,

    /// Seed of the random vectors
    #[arg(long, value_name = "SEED", default_value_t = 0, requires = "curvature")]
    pub seed: u64,

    /// Number of threads [default: one per core]; the tables do not depend on it
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..))]
    pub threads: Option<u16>,

    #[command(flatten)]
    pub source: SourceArgs,
}

/// Run the command; returns the exit code.
///
/// # Errors
/// [`Error::Setting`] if nothing is asked for; see [`lines::lines`] and [`planes::plane`].
pub fn run(args: &LandscapeArgs) -> anyhow::Result<u8> {
    let stop = signals::install()?;
    let threads = signals::threads(args.threads);
    let options = args.source.options();
    if let Some(plane) = &args.plane {
        let request = planes::Request {
            archive: &args.archive,
            options: &options,
            out: &args.out,
            plane: plane.clone(),
            vectors: args.vectors,
            grid: args.grid,
            extent: args.radius.map_or(Extent::Box { margin: args.margin }, Extent::Radius),
            threads,
            stop: &stop,
        };
        let summary = planes::plane(&request, &shared_progress("parts"))?;
        return summarise(&args.out, "points evaluated", &summary);
    }
    if !args.curvature.is_empty() {
        let (top, probes, lanczos, seed) = (args.top, args.probes, args.lanczos, args.seed);
        let request = curvature::Request {
            archive: &args.archive,
            options: &options,
            out: &args.out,
            steps: &args.curvature,
            losses: &args.loss,
            method: Method { top, probes, lanczos, seed, ..Method::default() },
            threads,
            stop: &stop,
        };
        let summary = curvature::curvature(&request, &shared_progress("Hessians"))?;
        return summarise(&args.out, "Hessians measured", &summary);
    }
    let request = lines::Request {
        archive: &args.archive,
        options: &options,
        out: &args.out,
        lines: wanted(args)?,
        points: args.points,
        alignment: if args.align { Alignment::Permuted } else { Alignment::None },
        threads,
        stop: &stop,
    };
    let summary = lines::lines(&request, &shared_progress("points"))?;
    summarise(&args.out, "points evaluated", &summary)
}

fn wanted(args: &LandscapeArgs) -> Result<Wanted, Error> {
    Ok(match (&args.from, &args.to, args.apart) {
        (Some(from), Some(to), _) => Wanted::Line { from: from.clone(), to: to.clone() },
        (_, _, Some(apart)) => Wanted::Apart(apart),
        _ if !args.between.is_empty() => Wanted::Between(args.between.clone()),
        _ => {
            let help = "say --from and --to, --between, --apart, --plane or --curvature";
            return Err(Error::setting("landscape", "nothing is asked for", help));
        }
    })
}
