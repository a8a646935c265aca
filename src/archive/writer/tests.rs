use super::*;
use crate::archive::sample::{self, STEPS, tree};

type Tree = BTreeMap<String, Vec<u8>>;

/// Continue in `dir`, and save what is left.
fn resume_and_finish(dir: &Path, info: &RunInfo) {
    match RunWriter::resume(dir, info).unwrap() {
        Start::New(mut writer) | Start::Resumed { mut writer, .. } => sample::finish(&mut writer),
        Start::Complete => {}
    }
}

fn refused(start: Result<Start>, dir: &Path) -> (u8, String) {
    let error = start.unwrap_err();
    (error.exit_code(), error.to_string().replace(&dir.display().to_string(), "F"))
}

#[test]
fn a_finished_run_is_left_alone() {
    let dir = tempfile::tempdir().unwrap();
    sample::run(dir.path(), &sample::info());
    let files = tree(dir.path());
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "checkpoints/step_00000000.safetensors",
            "checkpoints/step_00000001.safetensors",
            "checkpoints/step_00000002.safetensors",
            "checkpoints/step_00000004.safetensors",
            "manifest.jsonl",
            "metrics.jsonl",
            "optimizer/step_00000004.safetensors",
            "run.json",
        ]
    );
    let modified = |dir: &Path| {
        let mut times = Vec::new();
        for name in &names {
            times.push(fs::metadata(dir.join(name)).unwrap().modified().unwrap());
        }
        times
    };
    let before = modified(dir.path());
    assert!(matches!(RunWriter::create(dir.path(), &sample::info()), Ok(Start::Complete)));
    assert!(matches!(RunWriter::resume(dir.path(), &sample::info()), Ok(Start::Complete)));
    assert_eq!(modified(dir.path()), before);
    assert_eq!(tree(dir.path()), files);
}

#[test]
fn resuming_gives_back_what_was_saved() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = sample::begin(dir.path(), &sample::info());
    [0, 1].iter().for_each(|step| sample::save(&mut writer, *step));
    drop(writer);
    let error = refused(RunWriter::create(dir.path(), &sample::info()), dir.path());
    let message = "F: holds an unfinished run (last complete checkpoint: step 1 of 4)";
    assert_eq!(error, (2, message.into()));
    let start = RunWriter::resume(dir.path(), &sample::info()).unwrap();
    let Start::Resumed { writer, weights, optimizer } = start else { panic!("{start:?}") };
    assert_eq!((writer.saved(), weights.step, optimizer.step), (Some(1), 1, 1));
    assert_eq!(weights.tensor("embed.W_E").unwrap().values.as_slice().unwrap(), [1.0, -1.0, 0.5]);
    let moment = optimizer.tensor("embed.W_E.m").unwrap();
    assert_eq!(moment.values.as_slice().unwrap(), [0.1]);
}

#[test]
fn other_runs_and_other_programs_are_refused() {
    let dir = tempfile::tempdir().unwrap();
    let info = sample::info();
    let mut writer = sample::begin(dir.path(), &info);
    sample::save(&mut writer, 0);
    drop(writer);
    let before = tree(dir.path());
    let mut other = info.clone();
    other.config.lr = 0.5;
    let message = "F: written with different parameters: lr is 0.001 there, 0.5 here";
    for start in [RunWriter::create(dir.path(), &other), RunWriter::resume(dir.path(), &other)] {
        assert_eq!(refused(start, dir.path()), (12, message.into()));
    }
    let mut other = info.clone();
    other.blas.kernel = "Haswell".into();
    let (code, message) = refused(RunWriter::resume(dir.path(), &other), dir.path());
    assert!(message.contains("BLAS kernel is Zen there, Haswell here (set OPENBLAS_CORETYPE=Zen"));
    assert_eq!(code, 12);
    let mut other = info;
    other.versions.groundswell = "9.0.0".into();
    assert_eq!(refused(RunWriter::resume(dir.path(), &other), dir.path()).0, 12);
    assert_eq!(tree(dir.path()), before);
}

#[test]
fn foreign_folders_are_not_touched() {
    let dir = tempfile::tempdir().unwrap();
    fs::write(dir.path().join("thesis.txt"), b"").unwrap();
    let info = sample::info();
    let message = "F: not a run, and not empty: 1 other file: 1 .txt";
    for start in [RunWriter::create(dir.path(), &info), RunWriter::resume(dir.path(), &info)] {
        assert_eq!(refused(start, dir.path()), (2, message.into()));
    }
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no lock, no log");
    let file = dir.path().join("thesis.txt");
    assert_eq!(refused(RunWriter::create(&file, &info), &file).0, 2);
}

#[test]
fn one_process_writes() {
    let dir = tempfile::tempdir().unwrap();
    let writer = sample::begin(dir.path(), &sample::info());
    for start in [
        RunWriter::create(dir.path(), &sample::info()),
        RunWriter::resume(dir.path(), &sample::info()),
    ] {
        let (code, message) = refused(start, dir.path());
        assert!(code == 11 && message.contains("in use by pid"), "{message}");
    }
    drop(writer);
    let again = RunWriter::resume(dir.path(), &sample::info()).unwrap();
    assert!(matches!(again, Start::New(_)), "{again:?}");
}

#[test]
fn steps_only_grow() {
    let dir = tempfile::tempdir().unwrap();
    let mut writer = sample::begin(dir.path(), &sample::info());
    sample::save(&mut writer, 1);
    let weights = [TensorRef { name: "w", shape: &[], data: super::super::Data::F32(&[0.0]) }];
    for steps in [&[1][..], &[0], &[2, 2], &[3, 2]] {
        let metrics: Vec<_> = steps.iter().map(|step| sample::metrics(*step)).collect();
        let save = |metrics| Save { weights: &weights, optimizer: None, metrics };
        let error = writer.save(&metrics.iter().map(save).collect::<Vec<_>>()).unwrap_err();
        assert_eq!(error.code(), "CR21");
    }
}

/// What is saved together leaves the bytes of what is saved one by one, whatever is kept.
#[test]
fn steps_saved_together_give_the_same_bytes() {
    for keep in [SaveOptimizer::Never, SaveOptimizer::Last, SaveOptimizer::All] {
        let dir = tempfile::tempdir().unwrap();
        let info = sample::info_keeping(keep);
        let one_by_one = dir.path().join("one/run");
        let mut writer = sample::begin(&one_by_one, &info);
        sample::STEPS.iter().for_each(|step| sample::save_together(&mut writer, &[*step]));
        drop(writer);
        for groups in [&[&[0, 1, 2, 4][..]][..], &[&[0], &[1, 2], &[4]], &[&[0, 1], &[], &[2, 4]]] {
            let together = dir.path().join("together/run");
            let mut writer = sample::begin(&together, &info);
            groups.iter().for_each(|steps| sample::save_together(&mut writer, steps));
            drop(writer);
            assert!(tree(&together) == tree(&one_by_one), "{keep} {groups:?}");
            fs::remove_dir_all(dir.path().join("together")).unwrap();
        }
    }
}

#[test]
fn optimizer_states_are_kept_as_told() {
    for (keep, expected) in
        [(SaveOptimizer::Never, 0), (SaveOptimizer::Last, 1), (SaveOptimizer::All, 4)]
    {
        let dir = tempfile::tempdir().unwrap();
        let info = sample::info_keeping(keep);
        sample::run(dir.path(), &info);
        assert_eq!(Run::open(dir.path()).unwrap().optimizer.len(), expected, "{keep}");
        assert_eq!(fs::read_dir(dir.path().join("optimizer")).unwrap().count(), expected);
        // Without states nothing can be continued, and a run begins again.
        let dir = tempfile::tempdir().unwrap();
        let mut writer = sample::begin(dir.path(), &info);
        sample::save(&mut writer, 0);
        drop(writer);
        let start = RunWriter::resume(dir.path(), &info).unwrap();
        assert_eq!(matches!(start, Start::New(_)), keep == SaveOptimizer::Never);
    }
}

/// Damage to the last step: with all states kept, the one before it is taken.
#[test]
fn resuming_takes_the_last_step_whose_digests_match() {
    let (whole, dir) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (whole, dir) = (whole.path().join("run"), dir.path().join("run"));
    let info = sample::info_keeping(SaveOptimizer::All);
    sample::run(&whole, &info);
    for part in ["checkpoints", "optimizer"] {
        let mut writer = sample::begin(&dir, &info);
        [0, 1, 2].iter().for_each(|step| sample::save(&mut writer, *step));
        drop(writer);
        let path = dir.join(part).join("step_00000002.safetensors");
        let mut bytes = fs::read(&path).unwrap();
        *bytes.last_mut().unwrap() ^= 1;
        fs::write(&path, &bytes).unwrap();
        let start = RunWriter::resume(&dir, &info).unwrap();
        let Start::Resumed { mut writer, weights, .. } = start else { panic!("{start:?}") };
        assert_eq!(weights.step, 1);
        sample::finish(&mut writer);
        assert!(tree(&dir) == tree(&whole), "after damage in {part}");
        drop(writer);
        fs::remove_dir_all(&dir).unwrap();
    }
}

/// All states of the folder that a kill during `begin` or a save can leave, in their order.
///
/// A save of `steps` goes from `before` to `after`: temporaries, weights and states, then the lines of
/// the logs, torn in each and between all, then the unlinking. `files` holds every file of a run.
fn states_between(before: &Tree, after: &Tree, steps: &[u64], files: &Tree) -> Vec<Tree> {
    let mut states = vec![before.clone()];
    let mut now = before.clone();
    let names = |step: &u64| [Part::Weights, Part::Optimizer].map(|part| part.name(*step));
    let new: Vec<String> = steps.iter().flat_map(names).collect();
    let temporary = |name: &str| name.replace("step_", ".step_") + ".7-0123456789abcdef.gs-tmp";
    for name in &new {
        // Half-written, then whole, beside the final name.
        for length in [files[name].len() / 2, files[name].len()] {
            now.insert(temporary(name), files[name][..length].to_vec());
            states.push(now.clone());
        }
    }
    for name in &new {
        now.remove(&temporary(name));
        now.insert(name.clone(), files[name].clone());
        states.push(now.clone());
    }
    for log in ["metrics.jsonl", "manifest.jsonl"] {
        let lengths = before.get(log).map_or(0, Vec::len)..=after[log].len();
        let ends_line = |length: &usize| after[log][..*length].ends_with(b"\n");
        for length in lengths.filter(|length| length % 16 == 0 || ends_line(length)) {
            now.insert(log.into(), after[log][..length].to_vec());
            states.push(now.clone());
        }
    }
    states.push(after.clone());
    states
}

/// Killed at any point of any save, of one step or of several at once, a run that is resumed ends with
/// the bytes of one that was not.
#[test]
fn any_killed_run_ends_with_the_same_bytes() {
    let dir = tempfile::tempdir().unwrap();
    let all = dir.path().join("all/run");
    sample::run(&all, &sample::info_keeping(SaveOptimizer::All));
    let files = tree(&all);
    let saves: [&[&[u64]]; 3] = [&[&[0], &[1], &[2], &[4]], &[&[0, 1], &[2, 4]], &[&STEPS]];
    for (keep, saves) in
        [SaveOptimizer::Last, SaveOptimizer::All].iter().flat_map(|keep| saves.map(|s| (*keep, s)))
    {
        let info = sample::info_keeping(keep);
        let dir = tempfile::tempdir().unwrap();
        let whole = dir.path().join("whole/run");
        let mut writer = sample::begin(&whole, &info);
        let (mut before, mut states) = (tree(&whole), Vec::new());
        for steps in saves {
            sample::save_together(&mut writer, steps);
            let after = tree(&whole);
            states.extend(states_between(&before, &after, steps, &files));
            before = after;
        }
        assert!(states.len() > 100, "{}", states.len());
        for (i, state) in states.iter().enumerate() {
            let killed = dir.path().join(i.to_string()).join("run");
            sample::plant(&killed, state);
            // Reading never sees more than what was committed.
            let committed = Run::open(&killed).unwrap();
            for file in &committed.checkpoints {
                let name = file.path.strip_prefix(&killed).unwrap().to_str().unwrap();
                assert_eq!(file.load(None).unwrap().step, file.step, "state {i}");
                assert!(fs::read(&file.path).unwrap() == before[name], "state {i}: {name}");
            }
            resume_and_finish(&killed, &info);
            assert!(tree(&killed) == before, "{keep} {saves:?}, {i}: {:?}", state.keys());
            fs::remove_dir_all(killed.parent().unwrap()).unwrap();
        }
    }
}

/// Each write of a save fails once: nothing is committed, and the run goes on from the step before.
#[test]
fn a_save_that_fails_commits_nothing() {
    let info = sample::info();
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole/run");
    sample::run(&whole, &info);
    let full = || Log::open(Path::new("/dev/full")).unwrap();
    type Break<'a> = &'a dyn Fn(&Path, &mut RunWriter);
    let failures: [(&str, Break<'_>); 4] = [
        ("weights", &|dir, _| fs::rename(dir.join("checkpoints"), dir.join("away")).unwrap()),
        ("optimizer", &|dir, _| fs::rename(dir.join("optimizer"), dir.join("away")).unwrap()),
        ("metrics", &|_, writer| writer.metrics = full()),
        ("manifest", &|_, writer| writer.manifest = full()),
    ];
    for (name, fail) in failures {
        let killed = dir.path().join(name).join("run");
        let mut writer = sample::begin(&killed, &info);
        sample::save(&mut writer, 0);
        let before = tree(&killed);
        fail(&killed, &mut writer);
        let data = super::super::Data::F32(&[0.0]);
        let tensors = [TensorRef { name: "w", shape: &[], data }];
        let metrics = sample::metrics(1);
        let save = Save { weights: &tensors, optimizer: Some(&tensors), metrics: &metrics };
        let error = writer.save(&[save]).unwrap_err();
        assert_eq!((error.code(), error.exit_code()), ("CR05", 5), "{name}: {error}");
        drop(writer);
        let after = tree(&killed);
        assert_eq!(after["manifest.jsonl"], before["manifest.jsonl"], "{name}");
        // The log of metrics is behind the files, and before the manifest.
        let logged = after["metrics.jsonl"] != before["metrics.jsonl"];
        let saved = after.contains_key("checkpoints/step_00000001.safetensors");
        assert_eq!((saved, logged), (["metrics", "manifest"].contains(&name), name == "manifest"));
        let folder = if name == "weights" { "checkpoints" } else { "optimizer" };
        let _ = fs::rename(killed.join("away"), killed.join(folder));
        resume_and_finish(&killed, &info);
        assert!(tree(&killed) == tree(&whole), "{name}");
    }
}

/// The states before the first save: no folder, an empty one, a lock, a temporary, `run.json`, …
#[test]
fn a_run_killed_at_its_birth_begins_again() {
    let info = sample::info();
    let dir = tempfile::tempdir().unwrap();
    let whole = dir.path().join("whole/run");
    sample::run(&whole, &info);
    let run_json = info.to_json().unwrap();
    let mut state = Tree::new();
    for (i, (name, bytes)) in [
        (".lock", &b""[..]),
        (".run.json.7-0123456789abcdef.gs-tmp", &run_json[..9]),
        ("run.json", &run_json),
        ("metrics.jsonl", b""),
        ("manifest.jsonl", b""),
    ]
    .into_iter()
    .enumerate()
    {
        state.insert(name.into(), bytes.to_vec());
        let killed = dir.path().join(i.to_string()).join("run");
        sample::plant(&killed, &state);
        resume_and_finish(&killed, &info);
        assert!(tree(&killed) == tree(&whole), "killed after {name}");
    }
    let new = dir.path().join("new/run");
    resume_and_finish(&new, &info);
    assert!(tree(&new) == tree(&whole));
}
