use std::fs;

use super::*;

fn refused(path: &Path) -> (u8, String) {
    let error = Archive::open(path).unwrap_err();
    (error.exit_code(), error.to_string().replace(&path.display().to_string(), "F"))
}

#[test]
fn a_folder_of_runs_is_read_by_name() {
    let dir = tempfile::tempdir().unwrap();
    for name in ["b", "a"] {
        sample::run(&dir.path().join(name), &sample::info());
    }
    fs::create_dir(dir.path().join("notes")).unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    let names: Vec<_> = archive.runs.iter().map(|run| run.name.as_str()).collect();
    assert_eq!(names, ["a", "b"]);
    assert_eq!(archive.checkpoints().count(), 8);
    let of = |pattern: &str| {
        let run_pattern = Some(pattern.parse().unwrap());
        Archive::open_with(dir.path(), &Options { run_pattern, ..Options::default() })
    };
    assert_eq!(of("[b-z]").unwrap().runs[0].name, "b");
    let error = of("c").unwrap_err();
    let error = format!("{error:?} {error}");
    assert!(
        error.contains("no run has such a name") && error.contains("the runs are a, b"),
        "{error}"
    );
    let one = Archive::open(&dir.path().join("b")).unwrap();
    assert_eq!((one.runs.len(), one.runs[0].name.as_str()), (1, "b"));
}

#[test]
fn one_broken_run_does_not_stop_the_others() {
    let dir = tempfile::tempdir().unwrap();
    sample::run(&dir.path().join("good"), &sample::info());
    fs::create_dir(dir.path().join("bad")).unwrap();
    fs::write(dir.path().join("bad/run.json"), "{}").unwrap();
    let archive = Archive::open(dir.path()).unwrap();
    assert_eq!((archive.runs.len(), archive.unreadable.len()), (1, 1));
    assert_eq!(archive.unreadable[0].code(), "AR21");
    let alone = Archive::open(&dir.path().join("bad")).unwrap_err();
    assert!(alone.to_string().contains("run.json: line 1: missing field `format`"), "{alone}");
}

#[test]
fn folders_without_checkpoints_are_described() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path();
    assert_eq!(refused(&path.join("x")), (10, "F: no such archive".into()));
    assert_eq!(refused(path), (4, "F: 0 checkpoints; no other files".into()));
    for name in ["a.pt", "sub/b.pt", "c.txt", ".hidden"] {
        fs::create_dir_all(path.join("sub")).unwrap();
        fs::write(path.join(name), b"").unwrap();
    }
    let message = "F: 0 checkpoints; 3 other files: 2 .pt, 1 .txt";
    assert_eq!(refused(path), (4, message.into()));
    let file = path.join("c.txt");
    assert_eq!(refused(&file), (4, "F: 0 checkpoints; this is a file, not a folder".into()));
    let pickle = path.join("a.pt");
    assert_eq!(refused(&pickle), (2, "F: pickle checkpoints are not opened".into()));
    let begun = path.join("begun");
    drop(sample::begin(&begun, &sample::info()));
    let message = "F: 0 checkpoints; 3 other files: 2 .jsonl, 1 .json";
    assert_eq!(refused(&begun), (4, message.into()));
}
