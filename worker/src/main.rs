//! The binary `espalier-worker`.

fn main() -> std::process::ExitCode {
    espalier_proto::remote::hide_token();
    espalier_worker::cli::main()
}
