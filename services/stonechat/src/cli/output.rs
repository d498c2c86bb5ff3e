//! Everything that commands print. A reader that went away ends the process quietly.

use std::io::{IsTerminal as _, Write};

use serde::Serialize;

fn write(mut to: impl Write, text: &str) {
    let written = to.write_all(text.as_bytes()).and_then(|()| to.write_all(b"\n")).and_then(|()| to.flush());
    if written.is_err() {
        std::process::exit(0);
    }
}

/// Prints a line of what was asked for.
pub fn line(text: &str) {
    write(std::io::stdout().lock(), text);
}

/// Prints a line of JSON.
pub fn json(value: &impl Serialize) {
    match serde_json::to_string(value) {
        Ok(text) => line(&text),
        Err(error) => self::error(&format!("write JSON: {error}")),
    }
}

/// Prints a line for the person at the terminal, apart from what was asked for.
pub fn note(text: &str) {
    write(std::io::stderr().lock(), text);
}

/// Takes the line that was just entered off the screen, where input and output are a terminal.
pub fn take_back_line() {
    let mut out = std::io::stdout().lock();
    if std::io::stdin().is_terminal() && out.is_terminal() {
        // Up one line, and clear it (ECMA-48, CUU and EL). A terminal that is gone is no error.
        let _ = out.write_all(b"\x1b[1A\x1b[2K").and_then(|()| out.flush());
    }
}

/// Draws a line of the terminal anew.
pub fn draw(text: &str) {
    let mut out = std::io::stderr().lock();
    // To the first column, and clear the line (ECMA-48, EL). A terminal that is gone is no error.
    let _ = out.write_all(format!("\r\x1b[2K{text}").as_bytes()).and_then(|()| out.flush());
}

/// Leaves the line that was drawn, where there is one.
pub fn end_drawing() {
    if std::io::stderr().is_terminal() {
        draw("");
    }
}

/// Prints why something failed.
pub fn error(text: &str) {
    note(&format!("stonechat: {text}"));
}
