//! `stonechat file put` and `file get`, and the files that go with a message.

use std::{
    io::IsTerminal as _,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use clap::{Args, Subcommand};
use serde_json::json;
use stonechat_client::{FileInfo, Files, Options, Progress, v1::Attachment};

use super::{CliError, output, show, target::ServerArgs};

/// Cells of a progress bar.
const BAR_CELLS: u64 = 30;
/// Steps of progress that are told apart, of which a bar is drawn anew.
const BAR_STEPS: u64 = 200;

/// What to do with files.
#[derive(Debug, Subcommand)]
pub enum FileCommand {
    /// Upload files; prints their ids.
    #[command(after_help = "Example:\n  stonechat file put report.pdf holiday.jpg")]
    Put(PutArgs),
    /// Download a file; goes on where an earlier attempt broke off.
    #[command(after_help = "Examples:\n  stonechat file get fl_0123\n  stonechat file get fl_0123 -o report.pdf")]
    Get(GetArgs),
}

/// What to upload.
#[derive(Debug, Args)]
pub struct PutArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print a line of JSON for each.
    #[arg(long)]
    json: bool,
    /// The files.
    #[arg(required = true)]
    paths: Vec<PathBuf>,
}

/// What to download.
#[derive(Debug, Args)]
pub struct GetArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Where to; the file's name in the present folder when not given, which must not be there yet.
    #[arg(long, short)]
    output: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
    /// The file's id.
    id: String,
}

/// Does what is asked for.
pub async fn execute(command: FileCommand) -> Result<(), CliError> {
    match command {
        FileCommand::Put(args) => put(args).await,
        FileCommand::Get(args) => get(args).await,
    }
}

fn files(server: &ServerArgs) -> Result<Files, CliError> {
    Ok(Files::new(&Options::new(&server.url, &server.token))?)
}

/// Draws a bar on a terminal, and nothing elsewhere.
fn bar(name: &str) -> Progress {
    if !std::io::stderr().is_terminal() {
        return Arc::new(|_, _| {});
    }
    let (name, drawn) = (show::plain(name), AtomicU64::new(u64::MAX));
    Arc::new(move |done, size| {
        let step = done.saturating_mul(BAR_STEPS).checked_div(size).unwrap_or(BAR_STEPS);
        if drawn.swap(step, Ordering::Relaxed) != step {
            let full = usize::try_from(step * BAR_CELLS / BAR_STEPS).unwrap_or(0);
            let cells = usize::try_from(BAR_CELLS).unwrap_or(0);
            let percent = step * 100 / BAR_STEPS;
            output::draw(&format!("[{:cells$}] {percent:3} % {} {name}", "#".repeat(full), show::size(done)));
        }
    })
}

async fn upload(files: &Files, path: &Path) -> Result<FileInfo, CliError> {
    let name = path.file_name().and_then(std::ffi::OsStr::to_str);
    let name = name.ok_or_else(|| CliError::Usage(format!("{} has no name that can be sent", path.display())))?;
    let info = files.upload(path, name, bar(name)).await?;
    output::end_drawing();
    Ok(info)
}

/// Uploads what goes with a message.
pub async fn attach(server: &ServerArgs, paths: &[PathBuf]) -> Result<Vec<Attachment>, CliError> {
    let mut attachments = Vec::with_capacity(paths.len());
    if paths.is_empty() {
        return Ok(attachments);
    }
    let files = files(server)?;
    for path in paths {
        let info = upload(&files, path).await?;
        output::note(&format!("{} {} {}", info.id, show::size(info.size_bytes), show::plain(&info.name)));
        attachments.push(Attachment { id: info.id, ..Attachment::default() });
    }
    Ok(attachments)
}

async fn put(args: PutArgs) -> Result<(), CliError> {
    let files = files(&args.server)?;
    for path in &args.paths {
        let info = upload(&files, path).await?;
        match args.json {
            true => output::json(&json!({
                "id": info.id, "name": info.name, "content_type": info.content_type, "size_bytes": info.size_bytes,
            })),
            false => output::line(&format!("{} {} {}", info.id, show::size(info.size_bytes), show::plain(&info.name))),
        }
    }
    Ok(())
}

/// A name that another one gave, as a name in the present folder.
fn local_name(name: &str, id: &str) -> String {
    let last = name.rsplit(['/', '\\']).next().unwrap_or_default();
    let name = show::plain(last).trim_start_matches('.').trim().to_owned();
    if name.is_empty() { id.to_owned() } else { name }
}

async fn get(args: GetArgs) -> Result<(), CliError> {
    let files = files(&args.server)?;
    let info = files.info(&args.id).await?;
    let to = match &args.output {
        Some(path) => path.clone(),
        None => {
            let path = PathBuf::from(local_name(&info.name, &info.id));
            if path.exists() {
                return Err(CliError::Usage(format!(
                    "{} is there already; name another place with -o",
                    path.display()
                )));
            }
            path
        }
    };
    let size = files.download(&info.id, &to, bar(&info.name)).await?;
    output::end_drawing();
    match args.json {
        true => output::json(&json!({ "id": info.id, "path": to, "size_bytes": size })),
        false => output::line(&format!("{} {}", to.display(), show::size(size))),
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_of_others_stays_in_the_present_folder() {
        for (given, wanted) in [
            ("report.pdf", "report.pdf"),
            ("../../etc/passwd", "passwd"),
            ("c:\\boot.ini", "boot.ini"),
            (".bashrc", "bashrc"),
            ("..", "fl_1"),
            ("", "fl_1"),
        ] {
            assert_eq!(local_name(given, "fl_1"), wanted, "{given}");
        }
    }
}
