//! `transfers`: uploads and downloads over a connection that is cut again and again, to a server that is killed.

mod trouble;

use std::{
    io::{Read as _, Write as _},
    path::{Path, PathBuf},
    process::{ExitCode, Stdio},
    sync::Arc,
    time::{Duration, Instant},
};

use clap::Parser;
use rand::{RngCore as _, SeedableRng as _, rngs::StdRng};
use sha2::{Digest as _, Sha256};
use stonechat_auth::sign_user_token;
use stonechat_client::{Files, Options};
use stonechat_model::{KeyId, UserId, now_us};
use tokio::process::Command;

use trouble::Trouble;

/// Uploads a file by each client while the connection is cut and the server killed, downloads it likewise, and compares.
///
/// Ends with an error unless every byte is equal.
#[derive(Parser)]
#[command(name = "transfers")]
struct Arguments {
    /// Bytes of the file.
    #[arg(long, default_value_t = 300_000_000)]
    bytes: u64,
    /// The most milliseconds between two cuts.
    #[arg(long, default_value_t = 1500, value_parser = clap::value_parser!(u64).range(20..))]
    cut_ms: u64,
    /// After so many cuts the server is killed instead.
    #[arg(long, default_value_t = 8, value_parser = clap::value_parser!(u64).range(1..))]
    cuts_per_kill: u64,
    /// Where chance begins; by the clock when not given.
    #[arg(long)]
    seed: Option<u64>,
    /// The server's program; the one beside this program when not given.
    #[arg(long)]
    server: Option<PathBuf>,
    /// A Python with tuspy; without it that client is left out.
    #[arg(long)]
    python: Option<PathBuf>,
    /// A folder with tus-js-client; without it that client is left out.
    #[arg(long)]
    node: Option<PathBuf>,
}

type Failure = Box<dyn std::error::Error + Send + Sync>;

/// Who uploads.
enum Client {
    Rust,
    Python(PathBuf),
    JavaScript(PathBuf, u32),
}

impl Client {
    fn name(&self) -> String {
        match self {
            Self::Rust => "our own (Rust)".to_owned(),
            Self::Python(_) => "tuspy".to_owned(),
            Self::JavaScript(_, parts) => format!("tus-js-client, {parts} at once"),
        }
    }

    /// Uploads; gives the file's id.
    async fn upload(&self, url: &str, token: &str, path: &Path) -> Result<String, Failure> {
        let endpoint = format!("{url}/v1/uploads");
        let mut command = match self {
            Self::Rust => {
                let files = Files::new(&Options::new(url, token))?;
                return Ok(files.upload(path, "rust.bin", Arc::new(|_, _| {})).await?.id);
            }
            Self::Python(python) => {
                let mut command = Command::new(python);
                command.arg(script("upload.py")).args([&endpoint, token]).arg(path);
                command
            }
            Self::JavaScript(folder, parts) => {
                let mut command = Command::new("node");
                // Beside its packages, where they are looked for.
                std::fs::copy(script("upload.mjs"), folder.join("upload.mjs"))?;
                command.arg(folder.join("upload.mjs")).args([&endpoint, token]).arg(path).arg(parts.to_string());
                command
            }
        };
        let ended = command.stderr(Stdio::inherit()).kill_on_drop(true).output().await?;
        let said = String::from_utf8(ended.stdout)?;
        match said.trim().rsplit_once('/') {
            Some((_, id)) if ended.status.success() => Ok(id.to_owned()),
            _ => Err(format!("{} ended with {} and said {said:?}", self.name(), ended.status).into()),
        }
    }
}

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("clients").join(name)
}

#[tokio::main]
#[expect(clippy::print_stderr, reason = "the result of a command")]
async fn main() -> ExitCode {
    let arguments = Arguments::parse();
    // The server is a child that dies with its handle: an interrupted run must run its destructors.
    tokio::select! {
        result = run(&arguments) => match result {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("transfers: {error}");
                ExitCode::FAILURE
            }
        },
        _ = tokio::signal::ctrl_c() => {
            eprintln!("transfers: interrupted");
            ExitCode::FAILURE
        }
    }
}

#[expect(clippy::print_stdout, reason = "the result of a command")]
async fn run(arguments: &Arguments) -> Result<(), Failure> {
    let program = match &arguments.server {
        Some(program) => program.clone(),
        None => std::env::current_exe()?.with_file_name("stonechat"),
    };
    let seed = arguments.seed.unwrap_or_else(|| now_us().unsigned_abs());
    let folder = tempfile::tempdir()?;
    println!("seed {seed}: {} bytes", arguments.bytes);
    println!(
        "| client | upload s | cuts | kills | download s | cuts | kills | equal |\n|---|---|---|---|---|---|---|---|"
    );
    let mut clients = vec![Client::Rust];
    clients.extend(arguments.python.clone().map(Client::Python));
    for parts in [1, 4] {
        clients.extend(arguments.node.clone().map(|folder| Client::JavaScript(folder, parts)));
    }
    let mut differing = 0;
    let pace = trouble::Pace { cut_ms: arguments.cut_ms, cuts_per_kill: arguments.cuts_per_kill };
    for (number, client) in clients.iter().enumerate() {
        let seed = seed + number as u64;
        let path = folder.path().join(format!("{number}.bin"));
        let wanted = make(&path, arguments.bytes, seed)?;
        let mut trouble = Trouble::start(&program, &folder.path().join(format!("server{number}")), pace, seed).await?;
        let started = trouble.started();
        let (key, user) = (KeyId::parse(&started.key_id)?, UserId::parse("alice")?);
        let token = sign_user_token(&key, started.key_secret.as_bytes(), &user, None, now_us(), TOKEN)?;
        let url = trouble.url();
        let begun = Instant::now();
        let uploaded = trouble.during(client.upload(&url, &token, &path)).await;
        let (id, up) = uploaded.map_err(|error| format!("{}: {error}", client.name()))?;
        let up_s = begun.elapsed().as_secs_f64();
        let fetched = folder.path().join(format!("{number}.back"));
        let files = Files::new(&Options::new(&url, token))?;
        let begun = Instant::now();
        let download = async { Ok::<_, Failure>(files.download(&id, &fetched, Arc::new(|_, _| {})).await?) };
        let (_, down) = trouble.during(download).await?;
        let is_equal = digest(&fetched)? == wanted;
        differing += u32::from(!is_equal);
        println!(
            "| {} | {up_s:.1} | {} | {} | {:.1} | {} | {} | {} |",
            client.name(),
            up.cuts,
            up.kills,
            begun.elapsed().as_secs_f64(),
            down.cuts,
            down.kills,
            if is_equal { "yes" } else { "NO" },
        );
        std::fs::remove_file(&path)?;
        std::fs::remove_file(&fetched)?;
    }
    if differing > 0 { Err(format!("{differing} files came back otherwise").into()) } else { Ok(()) }
}

/// How long a token is good for: longer than any run.
const TOKEN: Duration = Duration::from_secs(24 * 3600);

/// Makes a file of chance; gives what its bytes hash to.
fn make(path: &Path, bytes: u64, seed: u64) -> std::io::Result<[u8; 32]> {
    let (mut chance, mut left) = (StdRng::seed_from_u64(seed), bytes);
    let (mut file, mut hash) = (std::fs::File::create(path)?, Sha256::new());
    let mut chunk = vec![0; 1 << 20];
    while left > 0 {
        let some = &mut chunk[..usize::try_from(left).unwrap_or(usize::MAX).min(1 << 20)];
        chance.fill_bytes(some);
        file.write_all(some)?;
        hash.update(&*some);
        left -= some.len() as u64;
    }
    Ok(hash.finalize().into())
}

fn digest(path: &Path) -> std::io::Result<[u8; 32]> {
    let (mut file, mut hash) = (std::fs::File::open(path)?, Sha256::new());
    let mut chunk = vec![0; 1 << 20];
    loop {
        match file.read(&mut chunk)? {
            0 => return Ok(hash.finalize().into()),
            read => hash.update(&chunk[..read]),
        }
    }
}
