//! The binary `espalier`. Everything is in the library; here is only the way in and out.

use espalier::{cli, exit, telemetry};

/// A coordinator allocates and frees small things, on one thread what another has allocated.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> std::process::ExitCode {
    espalier_proto::remote::hide_token();
    let cli = cli::parse(std::env::args_os());
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(source) => return exit::leave(Err(exit::Failure::Runtime { source }), cli.output),
    };
    let entered = runtime.enter();
    let spans = telemetry::start(&cli.logs);
    drop(entered);
    // Commands run on the main thread, the one that lives as long as the process: children die with their spawning thread.
    let output = cli.output;
    let result = runtime.block_on(cli::run(cli));
    spans.end(&runtime);
    // What still hangs at a file system or a name server that is away is not waited for.
    runtime.shutdown_timeout(std::time::Duration::from_secs(2));
    exit::leave(result, output)
}
