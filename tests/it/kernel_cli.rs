//! A processor that OpenBLAS does not know: the programs start themselves again with a better kernel.
//!
//! Such processors are rare, so a library loaded before OpenBLAS plays one: asked for its kernel, it
//! answers as OpenBLAS does there, and it counts how often the program was started.
#![cfg(all(target_os = "linux", feature = "openblas"))]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::support::*;

const STAND_IN: &str = r#"
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

char *openblas_get_corename(void) {
    char *asked = getenv("OPENBLAS_CORETYPE");
    return asked ? asked : "Haswell";
}

__attribute__((constructor)) static void count(void) {
    FILE *log = fopen(getenv("STARTS"), "a");
    fprintf(log, "%d\n", getpid());
    fclose(log);
}
"#;

/// The stand-in, compiled by the linker's driver, which every Rust toolchain needs.
fn stand_in(dir: &Path) -> PathBuf {
    let (source, library) = (dir.join("stand_in.c"), dir.join("stand_in.so"));
    fs::write(&source, STAND_IN).unwrap();
    let mut cc = Command::new("cc");
    let built = cc.args(["-shared", "-fPIC", "-o"]).arg(&library).arg(&source).status().unwrap();
    assert!(built.success());
    library
}

/// `groundswell doctor` with the stand-in: what it prints, and the processes that started.
fn doctor(dir: &Path, asked: Option<&str>) -> (Ran, Vec<String>) {
    let log = dir.join("starts");
    let _ = fs::remove_file(&log);
    let mut command = command(GROUNDSWELL, args!["doctor"]);
    command.env("LD_PRELOAD", stand_in(dir)).env("STARTS", &log).env_remove("OPENBLAS_CORETYPE");
    command.envs(asked.map(|kernel| ("OPENBLAS_CORETYPE", kernel)));
    let ran = Ran::from(command.output().unwrap());
    let starts = fs::read_to_string(&log).unwrap();
    (ran, starts.lines().map(str::to_owned).collect())
}

#[test]
fn a_better_kernel_is_chosen_once_and_none_against_the_users_word() {
    let dir = tempfile::tempdir().unwrap();
    let wide = groundswell::blas::vector_features().contains(&"avx512vl");

    let (ran, starts) = doctor(dir.path(), None);
    let ran = ran.exits(0);
    let kernel = if wide { "SkylakeX" } else { "Haswell" };
    assert!(ran.stdout.contains(&format!("kernel           {kernel}\n")), "{}", ran.stdout);
    assert_eq!(starts.len(), if wide { 2 } else { 1 });
    assert!(starts.iter().all(|pid| *pid == starts[0]), "one process: {starts:?}");

    let (ran, starts) = doctor(dir.path(), Some("Haswell"));
    let ran = ran.exits(0);
    assert!(ran.stdout.contains("kernel           Haswell\n"), "{}", ran.stdout);
    assert_eq!(starts.len(), 1, "started again against the user's word");
    let advice = "the Haswell kernel is in force, and SkylakeX is faster: unset OPENBLAS_CORETYPE";
    assert_eq!(ran.stdout.contains(advice), wide, "{}", ran.stdout);
}
