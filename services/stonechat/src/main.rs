//! `stonechat`: every role of the platform and its command line, in one binary.

mod cli;
mod run;

use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let mut command_line = cli::CommandLine::new();
    let given = command_line.parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            cli::output::error(&format!("start the runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    runtime.block_on(command_line.execute(given))
}
