//! The best kernel of OpenBLAS for this processor.

use std::env;

use crate::blas;

/// The variable from which OpenBLAS takes a kernel's name.
const CORE_TYPE: &str = "OPENBLAS_CORETYPE";

/// Start this program again with a better kernel, if there is one.
///
/// OpenBLAS chooses its kernel when it is loaded, before `main`: only a new start can change it. It
/// happens at most once, before any work, and never against a kernel that the user has named. The
/// kernel in force is recorded in every result.
pub fn choose() {
    if env::var_os(CORE_TYPE).is_some() {
        return;
    }
    let Some(kernel) = blas::better_kernel(&blas::info(), &blas::vector_features()) else { return };
    start_again(kernel);
}

/// Returns only if the system refuses; then the kernel stays as it is.
#[cfg(unix)]
fn start_again(kernel: &str) {
    use std::os::unix::process::CommandExt;

    let Ok(program) = env::current_exe() else { return };
    let mut arguments = env::args_os();
    let mut command = std::process::Command::new(program);
    if let Some(name) = arguments.next() {
        command.arg0(name);
    }
    let _ = command.args(arguments).env(CORE_TYPE, kernel).exec();
}

#[cfg(not(unix))]
fn start_again(_kernel: &str) {}
