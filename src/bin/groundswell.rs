//! Analyse archives of training runs.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    groundswell::cli::main()
}
