//! Many runs from one file: a grid or a list over any setting.
//!
//! ```toml
//! preset = "demo"
//!
//! [settings]                # for all runs, as in a configuration file
//! steps = 3000
//!
//! [grid]                    # every combination of these
//! seed = [0, 1, 2, 3]
//! train_fraction = [0.35, 0.45]
//!
//! [[run]]                   # and these besides, each with its own settings
//! name = "wide"
//! d_mlp = 1024
//! ```
//!
//! Small runs share a machine better than they split: with two cores, two runs of one thread each
//! finish sooner than one run of two threads after the other. So as many runs go side by side as
//! there are threads and memory, and only what is left over goes into the runs.

use std::collections::{BTreeMap, BTreeSet};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use serde::Deserialize;

use super::{Outcome, Report, Request, memory_of, run};
use crate::config::{KEYS, PRESETS, RunConfig, Settings, toml_fault};
use crate::error::{Error, Result, nearest};

/// The content of a sweep file.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct File {
    preset: Option<String>,
    settings: Settings,
    grid: BTreeMap<String, Vec<toml::Value>>,
    run: Vec<Listed>,
}

/// A run of its own in a sweep file.
#[derive(Debug, Deserialize)]
struct Listed {
    name: String,
    #[serde(flatten)]
    settings: toml::Table,
}

/// A run that is to be trained.
#[derive(Debug, Clone, PartialEq)]
pub struct Planned {
    /// Name of its folder
    pub name: String,
    pub config: RunConfig,
}

/// Read a sweep file; `path` serves the messages only.
///
/// # Errors
/// [`Error::ConfigFile`], [`Error::UnknownName`] or [`Error::Setting`]: every run is checked before
/// the first one starts.
pub fn plan(text: &str, path: &Path) -> Result<Vec<Planned>> {
    let known = [&["preset", "settings", "grid", "run"], KEYS].concat();
    let file: File =
        toml::from_str(text).map_err(|error| toml_fault(&error, text, path, &known))?;
    let preset = Settings::preset(file.preset.as_deref().unwrap_or(PRESETS[0].name))?;
    let common = file.settings.or(preset);

    let mut plans = Vec::new();
    for point in combinations(&file.grid) {
        let name = point.iter().map(|(key, value)| format!("{key}-{}", plain(value)));
        plans.push((name.collect::<Vec<_>>().join("_"), point));
    }
    plans.extend(file.run.into_iter().map(|listed| (listed.name, listed.settings)));
    if plans.is_empty() {
        return Err(Error::setting("sweep", "names no run", "give a [grid] or some [[run]]"));
    }
    let mut names = BTreeSet::new();
    plans
        .into_iter()
        .map(|(name, point)| {
            let usable = !name.starts_with('.') && !name.is_empty() && !name.contains('/');
            if !usable || !names.insert(name.clone()) {
                let problem = format!("the name {name:?} is taken, or is no folder name");
                return Err(Error::setting("run", problem, "give each [[run]] its own name"));
            }
            let config = settings(&name, point)?.or(common.clone()).resolve()?;
            Ok(Planned { name, config })
        })
        .collect()
}

/// Every combination of the listed values, the last key running fastest.
fn combinations(grid: &BTreeMap<String, Vec<toml::Value>>) -> Vec<toml::Table> {
    if grid.is_empty() {
        return Vec::new();
    }
    grid.iter().fold(vec![toml::Table::new()], |points, (key, values)| {
        let with = |point: &toml::Table, value: &toml::Value| {
            let mut point = point.clone();
            point.insert(key.clone(), value.clone());
            point
        };
        points.iter().flat_map(|point| values.iter().map(move |value| with(point, value))).collect()
    })
}

/// The settings of one run, with the nearest key for one that is not known.
fn settings(run: &str, point: toml::Table) -> Result<Settings> {
    if let Some(key) = point.keys().find(|key| !KEYS.contains(&key.as_str())) {
        let hint = nearest(key, KEYS.iter().copied());
        let hint = hint.map_or_else(String::new, |known| format!("; did you mean `{known}`?"));
        let problem = format!("unknown key `{key}`{hint}");
        return Err(Error::setting(run, problem, format!("known keys: {}", KEYS.join(", "))));
    }
    point.try_into().map_err(|error: toml::de::Error| {
        let problem = error.message().lines().next().unwrap_or_default().to_owned();
        Error::setting(run, problem, "see groundswell-train --help for the values of a setting")
    })
}

/// A value as a part of a folder's name.
fn plain(value: &toml::Value) -> String {
    let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
    text.chars().map(|c| if c.is_alphanumeric() || "+-.".contains(c) { c } else { '-' }).collect()
}

/// How runs share the machine.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sharing {
    /// Runs that go side by side
    pub parallel: usize,
    /// Threads of each
    pub threads: usize,
    /// Whether more would go side by side if there were more memory
    pub short_of_memory: bool,
}

/// How these runs share so many threads and so many bytes of memory (`None`: enough).
#[must_use]
pub fn share(plans: &[Planned], threads: usize, memory: Option<u64>) -> Sharing {
    let wanted = plans.len().min(threads).max(1);
    let largest = plans.iter().map(|plan| memory_of(&plan.config)).max().unwrap_or(1).max(1);
    let fitting = memory.map_or(usize::MAX, |bytes| {
        // A fifth is left for everything else.
        usize::try_from(bytes / 5 * 4 / largest).unwrap_or(usize::MAX)
    });
    let parallel = wanted.min(fitting).max(1);
    Sharing { parallel, threads: (threads / parallel).max(1), short_of_memory: parallel < wanted }
}

/// Train all runs, each into its folder below `out`; those that are complete are left alone, those
/// that are not go on where they stopped. One run's failure does not stop the others.
///
/// Returns how each ended, in the order of `plans`; after a signal those not begun are
/// [`Error::Interrupted`], too. `observe` is told the index of a run.
pub fn train_all(
    plans: &[Planned],
    out: &Path,
    Sharing { parallel, threads, .. }: Sharing,
    stop: &AtomicUsize,
    observe: &(dyn Fn(usize, &Report) + Sync),
) -> Vec<Result<Outcome>> {
    let next = AtomicUsize::new(0);
    let ended: Vec<Mutex<Option<Result<Outcome>>>> =
        plans.iter().map(|_| Mutex::new(None)).collect();
    let work = || {
        loop {
            let index = next.fetch_add(1, Ordering::Relaxed);
            let (Some(plan), Some(slot)) = (plans.get(index), ended.get(index)) else { break };
            if stop.load(Ordering::Relaxed) != 0 {
                break;
            }
            let folder = out.join(&plan.name);
            let request =
                Request { config: &plan.config, out: &folder, resume: true, threads, stop };
            let work = AssertUnwindSafe(|| run(&request, &mut |report| observe(index, report)));
            let outcome =
                catch_unwind(work).unwrap_or_else(|panic| Err(Error::from_panic(panic.as_ref())));
            if let Ok(mut slot) = slot.lock() {
                *slot = Some(outcome);
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..parallel {
            scope.spawn(work);
        }
    });
    let signal = i32::try_from(stop.load(Ordering::Relaxed)).unwrap_or(2);
    let not_begun =
        || Err(Error::Interrupted { signal, done: "not begun".into(), help: String::new() });
    ended
        .into_iter()
        .map(|slot| slot.into_inner().ok().flatten().unwrap_or_else(not_begun))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plan_of(text: &str) -> Result<Vec<Planned>> {
        plan(text, Path::new("sweep.toml"))
    }

    #[test]
    fn a_grid_is_every_combination_and_a_list_comes_behind() {
        let plans = plan_of(
            "preset = 'demo'\n[settings]\nsteps = 30\n[grid]\nseed = [0, 1]\n\
             train_fraction = [0.3, 0.5]\n[[run]]\nname = 'wide'\nd_mlp = 1024\n",
        )
        .unwrap();
        let names: Vec<&str> = plans.iter().map(|plan| plan.name.as_str()).collect();
        assert_eq!(
            names,
            [
                "seed-0_train_fraction-0.3",
                "seed-0_train_fraction-0.5",
                "seed-1_train_fraction-0.3",
                "seed-1_train_fraction-0.5",
                "wide"
            ]
        );
        assert!(plans.iter().all(|plan| plan.config.steps == 30 && plan.config.modulus == 59));
        assert_eq!((plans[2].config.seed, plans[4].config.d_mlp), (1, 1024));
        assert!((plans[1].config.train_fraction - 0.5).abs() < 1e-15);
    }

    #[test]
    fn mistakes_are_found_before_any_run() {
        for (text, message) in [
            ("[grid]\nsede = [1]", "unknown key `sede`; did you mean `seed`?"),
            ("[grid]\ntask = ['add', 'ad']", "unknown task `ad`; did you mean `add`?"),
            ("[grid]\nheads = [4, 3]", "3 heads do not divide d-model 128"),
            ("[[run]]\nname = 'a'\n[[run]]\nname = 'a'", "the name \"a\" is taken"),
            ("[[run]]\nname = '../a'", "is no folder name"),
            ("preset = 'demo'", "names no run"),
            ("\n[gird]\nseed = [1]", "sweep.toml:2:2: unknown key `gird`; did you mean `grid`?"),
            (
                "[settings]\nsteeps = 3",
                "sweep.toml:2:1: unknown key `steeps`; did you mean `steps`?",
            ),
        ] {
            let error = plan_of(text).unwrap_err();
            assert!(error.to_string().contains(message), "{error}");
            assert_eq!(error.exit_code(), 2);
        }
    }

    #[test]
    fn runs_side_by_side_come_before_threads_in_a_run() {
        let plans = plan_of("preset = 'demo'\n[grid]\nseed = [0, 1, 2, 3, 4, 5, 6, 7]").unwrap();
        let of = |runs: usize, threads, memory| {
            let Sharing { parallel, threads, short_of_memory } =
                share(&plans[..runs], threads, memory);
            (parallel, threads, short_of_memory)
        };
        assert_eq!(of(8, 2, None), (2, 1, false));
        assert_eq!(of(1, 2, None), (1, 2, false));
        assert_eq!(of(3, 8, None), (3, 2, false));
        let one = memory_of(&plans[0].config);
        assert_eq!(of(8, 8, Some(3 * one)), (2, 4, true));
        assert_eq!(of(8, 2, Some(3 * one)), (2, 1, false));
        assert_eq!(of(8, 2, Some(0)), (1, 2, true), "one run always begins");
    }

    #[test]
    fn an_interrupted_sweep_goes_on_and_trains_nothing_twice() {
        let dir = tempfile::tempdir().unwrap();
        let plans = plan_of(
            "preset = 'demo'\n[settings]\nmodulus = 7\nd_model = 8\nd_mlp = 16\nheads = 2\n\
             steps = 60\nsave_at = '0..:10'\n[grid]\nseed = [0, 1, 2, 3]\n",
        )
        .unwrap();
        let stop = AtomicUsize::new(0);
        let one = share(&plans, 1, None);
        let first = train_all(&plans, dir.path(), one, &stop, &|index, report| {
            if index == 1 && report.step == 35 {
                stop.store(15, Ordering::Relaxed);
            }
        });
        assert!(matches!(first[0], Ok(Outcome::Complete(_))));
        assert!(first[1..].iter().all(|end| matches!(end, Err(Error::Interrupted { .. }))));
        stop.store(0, Ordering::Relaxed);
        let begun = Mutex::new(BTreeMap::new());
        let second = train_all(&plans, dir.path(), one, &stop, &|index, report| {
            begun.lock().unwrap().entry(index).or_insert(report.step);
        });
        assert!(matches!(second[0], Ok(Outcome::AlreadyComplete)));
        assert!(second[1..].iter().all(|end| matches!(end, Ok(Outcome::Complete(_)))));
        assert_eq!(*begun.lock().unwrap(), BTreeMap::from([(1, 35), (2, 0), (3, 0)]));
    }
}
