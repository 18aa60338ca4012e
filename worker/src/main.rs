//! The binary `espalier-worker`.

fn main() -> std::process::ExitCode {
    espalier_worker::cli::main()
}
