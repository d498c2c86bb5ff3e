//! `tidy docs` writes the generated pages, `tidy proto` accepts the present contracts as the new baseline,
//! `tidy warnings` tells what is long but not yet too long.
#![expect(clippy::print_stdout, clippy::print_stderr, reason = "a program for the terminal")]

use std::{fs, process::ExitCode};

use stonechat_tidy::{
    TidyError, documents,
    protobuf::{self, baseline},
    repository, sizes,
};

fn main() -> ExitCode {
    let done = match std::env::args().nth(1).as_deref() {
        Some("docs") => write_documents(),
        Some("proto") => accept_contracts(),
        Some("warnings") => tell_warnings(),
        _ => {
            eprintln!("usage: tidy docs | proto | warnings");
            return ExitCode::from(2);
        }
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn write_documents() -> Result<bool, TidyError> {
    for (path, text) in documents::generated() {
        write(path, &text)?;
    }
    Ok(true)
}

fn accept_contracts() -> Result<bool, TidyError> {
    let root = repository::root();
    let elements = protobuf::elements(&protobuf::compile(&root.join("proto"), &repository::files(&root)?)?);
    let mut whole = true;
    for (path, present) in baseline::texts(&elements) {
        let accepted = fs::read_to_string(root.join(&path)).unwrap_or_default();
        match baseline::accept(&path, &accepted, &present) {
            Ok(()) => write(&path, &present)?,
            Err(broken) => {
                broken.iter().for_each(|violation| eprintln!("{violation}"));
                whole = false;
            }
        }
    }
    Ok(whole)
}

fn tell_warnings() -> Result<bool, TidyError> {
    let files = repository::files(&repository::root())?;
    let found = files.iter().filter(|file| file.has_extension("rs")).flat_map(sizes::check);
    found.filter(|violation| violation.warning).for_each(|violation| println!("{violation}"));
    Ok(true)
}

fn write(path: &str, text: &str) -> Result<(), TidyError> {
    let failed = |source| TidyError::File { path: path.into(), source };
    let file = repository::root().join(path);
    if let Some(folder) = file.parent() {
        fs::create_dir_all(folder).map_err(failed)?;
    }
    fs::write(file, text).map_err(failed)?;
    println!("wrote {path}");
    Ok(())
}
