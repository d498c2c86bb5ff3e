//! `transfers`: uploads and downloads over a connection that is cut again and again, to a server that is killed.

mod measure;
mod nginx;
mod process;
mod trouble;
mod wire;

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
use stonechat_chaos::Started;
use stonechat_client::{Files, Options};
use stonechat_model::{KeyId, UserId, now_us};
use tokio::process::Command;

use trouble::Trouble;

/// Uploads a file by each client while the connection is cut and the server killed, downloads it likewise, and compares.
///
/// Ends with an error unless every byte is equal, and every upload was cut and its server killed.
#[derive(Parser)]
#[command(name = "transfers")]
struct Arguments {
    /// Bytes of the file.
    #[arg(long, default_value_t = 300_000_000)]
    bytes: u64,
    /// The most bytes between two cuts: what one client is cut at least is known from it.
    #[arg(long, default_value_t = 16_000_000, value_parser = clap::value_parser!(u64).range(100_000..))]
    cut_bytes: u64,
    /// How long one client may take, in seconds.
    #[arg(long, default_value_t = 600)]
    within_s: u64,
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
    /// Instead of making trouble, measures speed, processor time and memory beside this nginx.
    #[arg(long, value_name = "NGINX")]
    measure: Option<PathBuf>,
    /// By how many MiB the server's memory may grow where that is measured.
    #[arg(long, default_value_t = 64.0)]
    growth_mib: f64,
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
    if let Some(nginx) = &arguments.measure {
        let (program, bytes, growth_mib) = (program.as_path(), arguments.bytes, arguments.growth_mib);
        return measure::run(&measure::Wanted { program, nginx, bytes, growth_mib, seed }).await;
    }
    let folder = tempfile::tempdir()?;
    println!("seed {seed}: {} bytes", arguments.bytes);
    println!(
        "| client | upload s | cuts | kills | download s | cuts | kills | memory + MiB | equal |\n|---|---|---|---|---|---|---|---|---|"
    );
    let mut failures = Vec::new();
    for (number, client) in clients(arguments).iter().enumerate() {
        let place = folder.path().join(number.to_string());
        std::fs::create_dir(&place)?;
        let within = Duration::from_secs(arguments.within_s);
        let tried = attempt(arguments, client, &program, &place, seed + number as u64);
        let tried = tokio::time::timeout(within, tried).await.unwrap_or_else(|_| Err("it does not end".into()));
        failures.extend(tried.err().map(|error| format!("{}: {error}", client.name())));
        std::fs::remove_dir_all(&place)?;
    }
    if failures.is_empty() { Ok(()) } else { Err(failures.join("; ").into()) }
}

fn clients(arguments: &Arguments) -> Vec<Client> {
    let mut clients = vec![Client::Rust];
    clients.extend(arguments.python.clone().map(Client::Python));
    for parts in [1, 4] {
        clients.extend(arguments.node.clone().map(|folder| Client::JavaScript(folder, parts)));
    }
    clients
}

/// Has a client upload a file through trouble, and ours download it; fails unless the bytes are equal and there was trouble.
#[expect(clippy::print_stdout, reason = "the result of a command")]
async fn attempt(
    arguments: &Arguments,
    client: &Client,
    program: &Path,
    place: &Path,
    seed: u64,
) -> Result<(), Failure> {
    let (path, fetched) = (place.join("file.bin"), place.join("back.bin"));
    let wanted = make(&path, arguments.bytes, seed)?;
    let Arguments { cut_ms, cut_bytes, cuts_per_kill, .. } = *arguments;
    let pace = trouble::Pace { cut_ms, cut_bytes, cuts_per_kill };
    let mut trouble = Trouble::start(program, &place.join("server"), pace, seed).await?;
    let (url, token) = (trouble.url(), token_of(trouble.started())?);
    let begun = Instant::now();
    let (id, up) = trouble.during(client.upload(&url, &token, &path)).await?;
    let up_s = begun.elapsed().as_secs_f64();
    let files = Files::new(&Options::new(&url, token))?;
    let begun = Instant::now();
    let download = async { Ok::<_, Failure>(files.download(&id, &fetched, Arc::new(|_, _| {})).await?) };
    let (_, down) = trouble.during(download).await?;
    let down_s = begun.elapsed().as_secs_f64();
    let is_equal = digest(&fetched)? == wanted;
    println!(
        "| {} | {up_s:.1} | {} | {} | {down_s:.1} | {} | {} | {} | {} |",
        client.name(),
        up.cuts,
        up.kills,
        down.cuts,
        down.kills,
        up.growth_bytes.max(down.growth_bytes) >> 20,
        if is_equal { "yes" } else { "NO" },
    );
    match (is_equal, up.cuts.min(up.kills).min(down.cuts)) {
        (false, _) => Err("the file came back otherwise".into()),
        (true, 0) => Err("there was no trouble: more bytes or fewer between two cuts".into()),
        (true, _) => Ok(()),
    }
}

/// How long a token is good for: longer than any run.
const TOKEN: Duration = Duration::from_secs(24 * 3600);

/// A user's token.
fn token_of(started: &Started) -> Result<String, Failure> {
    let (key, user) = (KeyId::parse(&started.key_id)?, UserId::parse("alice")?);
    Ok(sign_user_token(&key, started.key_secret.as_bytes(), &user, None, now_us(), TOKEN)?)
}

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
