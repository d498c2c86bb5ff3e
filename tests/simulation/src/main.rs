//! `simulate`: runs seeds of the simulation.

use std::process::ExitCode;

fn main() -> ExitCode {
    stonechat_simulation::command_line::main(std::env::args().skip(1).collect())
}
