//! `stonechat doctor`: what keeps a server or a client from working.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use clap::Args;
use serde::Serialize;
use stonechat_client::core::Bootstrap;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{CliError, output, target::ServerArgs};

const TIMEOUT: Duration = Duration::from_secs(5);
/// Fewer file descriptors hold few connections.
const FILE_DESCRIPTORS: u64 = 4_096;

/// What to look at.
#[derive(Debug, Args)]
pub struct DoctorArgs {
    /// The server's URL.
    #[arg(long, env = "STONECHAT_URL", default_value = "http://127.0.0.1:4000")]
    url: String,
    /// A user token to try.
    #[arg(long, env = "STONECHAT_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// The server's data folder, when it is on this machine.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Finding {
    check: &'static str,
    ok: bool,
    detail: String,
}

fn finding(check: &'static str, result: Result<String, String>) -> Finding {
    let ok = result.is_ok();
    Finding { check, ok, detail: result.unwrap_or_else(|problem| problem) }
}

/// Looks, and says what it found; fails when something is wrong.
pub async fn doctor(args: DoctorArgs) -> Result<(), CliError> {
    let mut findings = vec![finding("file descriptors", file_descriptors())];
    if let Some(data) = &args.data {
        findings.push(finding("data folder", writable(data)));
    }
    findings.push(finding("alive", get(&args.url, "/livez").await));
    findings.push(finding("ready", get(&args.url, "/readyz").await));
    if let Some(token) = &args.token {
        let server = ServerArgs { url: args.url.clone(), token: token.clone(), device: None };
        let connected = server.connect(Bootstrap::Live).await;
        let detail = connected.map(|it| format!("session opened as {}", it.user)).map_err(|e| e.to_string());
        findings.push(finding("session", detail));
    }
    let is_well = findings.iter().all(|finding| finding.ok);
    if args.json {
        output::json(&findings);
    } else {
        for Finding { check, ok, detail } in &findings {
            output::line(&format!("{} {check}: {detail}", if *ok { "ok  " } else { "FAIL" }));
        }
    }
    if is_well { Ok(()) } else { Err(CliError::Failed("something is wrong".to_owned())) }
}

/// The soft limit of open files, from the process's own accounting.
fn file_descriptors() -> Result<String, String> {
    let text = std::fs::read_to_string("/proc/self/limits").map_err(|e| format!("cannot be read: {e}"))?;
    let line = text.lines().find(|line| line.starts_with("Max open files")).unwrap_or_default();
    let soft = line.split_whitespace().nth(3).unwrap_or_default();
    match soft.parse::<u64>() {
        Ok(limit) if limit < FILE_DESCRIPTORS => {
            Err(format!("at most {limit}, each connection takes one; raise it with: ulimit -n 65536"))
        }
        _ => Ok(format!("at most {soft}")),
    }
}

fn writable(folder: &Path) -> Result<String, String> {
    let problem = |e: std::io::Error| format!("{} cannot be written: {e}", folder.display());
    std::fs::create_dir_all(folder).map_err(problem)?;
    let probe = folder.join(".doctor");
    std::fs::write(&probe, b"").and_then(|()| std::fs::remove_file(&probe)).map_err(problem)?;
    Ok(format!("{} can be written", folder.display()))
}

/// The status line of a GET.
async fn get(url: &str, path: &str) -> Result<String, String> {
    let host = url.strip_prefix("http://").ok_or("only http:// can be looked at from here")?.trim_end_matches('/');
    let asking = async {
        let mut stream = TcpStream::connect(host).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(4_096).read_to_end(&mut answer).await?;
        Ok::<_, std::io::Error>(String::from_utf8_lossy(&answer).lines().next().unwrap_or_default().to_owned())
    };
    match timeout(TIMEOUT, asking).await {
        Ok(Ok(status)) if status.contains(" 200 ") => Ok(status),
        Ok(Ok(status)) => Err(format!("answered {status}")),
        Ok(Err(error)) => Err(format!("cannot be reached: {error}")),
        Err(_) => Err("does not answer".to_owned()),
    }
}
