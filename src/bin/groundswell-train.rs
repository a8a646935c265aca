//! Train a small network and save an archive of its checkpoints.
#![forbid(unsafe_code)]

fn main() -> std::process::ExitCode {
    groundswell::cli::train::main()
}
