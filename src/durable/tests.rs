use super::*;

fn names(folder: &Path) -> Vec<String> {
    let names = fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name());
    let mut names: Vec<_> = names.map(|name| name.into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn a_file_is_written_and_replaced_without_remains() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("a.json");
    write(&path, b"old").unwrap();
    write(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    assert_eq!(names(dir.path()), ["a.json"]);
}

#[test]
fn a_batch_shows_nothing_before_its_commit() {
    let dir = tempfile::tempdir().unwrap();
    let mut batch = Batch::default();
    batch.stage(&dir.path().join("a"), b"1").unwrap();
    batch.stage(&dir.path().join("b"), b"2").unwrap();
    assert!(names(dir.path()).iter().all(|name| is_temporary(name)));
    drop(batch);
    assert!(names(dir.path()).is_empty());
}

#[test]
fn a_folder_appears_whole_and_replaces_another() {
    let dir = tempfile::tempdir().unwrap();
    let block = dir.path().join("block");
    for text in ["old", "new"] {
        let mut batch = Batch::default();
        batch.stage_folder(&block, [("a", text.as_bytes()), ("b", b"2")]).unwrap();
        assert_eq!(names(dir.path()).iter().filter(|name| is_temporary(name)).count(), 1);
        batch.commit().unwrap();
        assert_eq!(
            (names(dir.path()), names(&block)),
            (vec!["block".into()], vec!["a".into(), "b".into()])
        );
        assert_eq!(fs::read(block.join("a")).unwrap(), text.as_bytes());
    }
    let mut batch = Batch::default();
    batch.stage_folder(&dir.path().join("other"), [("a", b"".as_slice())]).unwrap();
    drop(batch);
    assert_eq!(names(dir.path()), ["block"]);
}

#[test]
fn failures_name_the_file_and_keep_the_old_one() {
    let dir = tempfile::tempdir().unwrap();
    let missing = dir.path().join("nowhere/a");
    let error = write(&missing, b"x").unwrap_err();
    assert_eq!((error.code(), error.exit_code()), ("CR05", 5));
    assert!(error.to_string().starts_with(&format!("could not write {}", missing.display())));

    // A name that is taken by a folder cannot be renamed over: the data are kept, and named.
    let taken = dir.path().join("taken");
    create_dir(&taken.join("full")).unwrap();
    let mut batch = Batch::default();
    batch.stage(&taken, b"x").unwrap();
    batch.stage(&dir.path().join("behind"), b"y").unwrap();
    let message = batch.commit().unwrap_err().to_string();
    let (_, kept) = message.split_once("the data are in ").unwrap();
    assert_eq!(fs::read(kept).unwrap(), b"x");
    assert_eq!(names(dir.path()).len(), 2, "one temporary and the folder");
}

#[test]
fn folders_are_created_with_their_parents() {
    let dir = tempfile::tempdir().unwrap();
    let deep = dir.path().join("a/b/c");
    create_dir(&deep).unwrap();
    create_dir(&deep).unwrap();
    assert!(deep.is_dir());
    write(&dir.path().join("file"), b"").unwrap();
    assert_eq!(create_dir(&dir.path().join("file")).unwrap_err().exit_code(), 5);
}

#[test]
fn only_our_temporaries_are_swept() {
    let dir = tempfile::tempdir().unwrap();
    let foreign = [
        ".a.1-0123456789abcde.gs-tmp", // 15 digits
        ".a.x-0123456789abcdef.gs-tmp",
        ".gs-tmp",
        "a.1-0123456789abcdef.gs-tmp",
        "a.gs-tmp",
    ];
    for name in foreign {
        fs::write(dir.path().join(name), b"").unwrap();
    }
    let (ours, _) = create_temporary(&dir.path().join("step.safetensors")).unwrap();
    assert!(is_temporary(ours.file_name().unwrap().to_str().unwrap()));
    assert_eq!(sweep_temporaries(dir.path()).unwrap(), 1);
    assert_eq!(names(dir.path()), foreign);
}

/// `/dev/full` refuses every byte, as a full disk does.
#[test]
fn a_full_disk_is_told_with_the_bytes_needed() {
    let mut full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let error = explain(full.write_all(&[0; 64]).unwrap_err(), 64);
    assert!(error.to_string().ends_with("; need 64 bytes"), "{error}");
}
