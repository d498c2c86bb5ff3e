//! How fast files go in and out and what that costs, beside a plain file server in the same run.
//!
//! Both are asked in the same way, on loopback, by one stream and by four. The plain one is nginx with one process: it
//! takes a `PUT` into a file, which is then brought to the disk (`fsync`) within the time that is measured, since an
//! upload that Stonechat acknowledges is there; and gives it with `sendfile`. It neither hashes nor encrypts. What is
//! fetched was written just before and comes from the page cache on both sides.

use std::{
    future::Future,
    net::SocketAddr,
    path::{Path, PathBuf},
    time::Instant,
};

use sha2::{Digest as _, Sha256};
use stonechat_chaos::Server;

use crate::{
    Failure, make,
    nginx::Nginx,
    process::Process,
    token_of,
    trouble::START,
    wire::{self, Part},
};

/// Streams at once.
const STREAMS: [u64; 2] = [1, 4];
/// What is uploaded before it is measured, so that nothing is measured that happens once.
const WARM_BYTES: u64 = 1 << 20;
const MIB: f64 = 1_048_576.0;
const GIB: f64 = 1_073_741_824.0;

/// What is measured.
pub struct Wanted<'a> {
    /// The server's program.
    pub program: &'a Path,
    /// The plain server's program.
    pub nginx: &'a Path,
    /// Bytes of the file.
    pub bytes: u64,
    /// By how much the server's memory may grow, in MiB.
    pub growth_mib: f64,
    /// Where chance begins.
    pub seed: u64,
}

/// What a transfer took.
struct Figures {
    seconds: f64,
    cpu_s: f64,
    /// Beyond what the process had before the first transfer.
    growth_mib: f64,
}

/// Measures and prints a table.
///
/// # Errors
/// Something does not come back as it was, or the server's memory grows by more than it may.
pub async fn run(wanted: &Wanted<'_>) -> Result<(), Failure> {
    let folder = tempfile::tempdir()?;
    let file = File { path: folder.path().join("file.bin"), bytes: wanted.bytes };
    let (hash, warm) = (make(&file.path, file.bytes, wanted.seed)?, folder.path().join("warm.bin"));
    make(&warm, WARM_BYTES, wanted.seed + 1)?;
    let warm = File { path: warm, bytes: WARM_BYTES };
    println(&format!("{:.2} GiB\n", wanted.bytes as f64 / GIB));
    println(
        "| | streams | Stonechat MiB/s | nginx MiB/s | ratio | Stonechat CPU s/GiB | nginx CPU s/GiB | memory + MiB |",
    );
    println("|---|---|---|---|---|---|---|---|");

    let mut ours = Ours::start(wanted.program, folder.path()).await?;
    let plain = Nginx::start(wanted.nginx).await?;
    let (id, _) = (ours.upload(&warm, 1).await?, plain.upload(&warm, 1).await?);
    ours.download(&id, &warm, 1).await?;
    let (process, plain_process) = (Process::of(ours.pid()?)?, Process::of(plain.pid()?)?);
    let mut most: f64 = 0.0;
    for streams in STREAMS {
        let mut id = String::new();
        let uploading = async {
            id = ours.upload(&file, streams).await?;
            Ok(())
        };
        let up = measured(&process, uploading).await?;
        let plain_up = measured(&plain_process, plain.upload(&file, streams)).await?;
        row("upload", streams, wanted.bytes, &up, &plain_up);
        let down = measured(&process, ours.download(&id, &file, streams)).await?;
        let plain_down = measured(&plain_process, plain.download(&file, streams)).await?;
        row("download", streams, wanted.bytes, &down, &plain_down);
        if ours.hash(&id).await? != hash {
            return Err(format!("by {streams} streams the file came back otherwise").into());
        }
        most = most.max(up.growth_mib).max(down.growth_mib);
    }
    if most > wanted.growth_mib {
        return Err(format!("memory grew by {most:.0} MiB, and {:.0} are allowed", wanted.growth_mib).into());
    }
    Ok(())
}

async fn measured(process: &Process, work: impl Future<Output = Result<(), Failure>>) -> Result<Figures, Failure> {
    process.forget_peak()?;
    let (begun, cpu_s) = (Instant::now(), process.cpu_s()?);
    work.await?;
    let seconds = begun.elapsed().as_secs_f64();
    Ok(Figures { seconds, cpu_s: process.cpu_s()? - cpu_s, growth_mib: process.growth_bytes()? as f64 / MIB })
}

fn row(what: &str, streams: u64, bytes: u64, ours: &Figures, plain: &Figures) {
    let (mib, gib) = (bytes as f64 / MIB, bytes as f64 / GIB);
    println(&format!(
        "| {what} | {streams} | {:.0} | {:.0} | {:.2} | {:.2} | {:.2} | {:.0} |",
        mib / ours.seconds,
        mib / plain.seconds,
        plain.seconds / ours.seconds,
        ours.cpu_s / gib,
        plain.cpu_s / gib,
        ours.growth_mib,
    ));
}

#[expect(clippy::print_stdout, reason = "the result of a command")]
fn println(line: &str) {
    println!("{line}");
}

/// A file of this side.
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
}

impl File {
    /// It in so many parts: where each begins, and how long it is.
    pub fn parts(&self, count: u64) -> impl Iterator<Item = (u64, u64)> {
        let (step, bytes) = (self.bytes.div_ceil(count), self.bytes);
        (0..count).map(move |number| (number * step, step.min(bytes - number * step)))
    }

    /// One of these parts, as a body.
    pub fn part(&self, (from, length): (u64, u64)) -> Part<'_> {
        Part { path: &self.path, from, length }
    }
}

/// Stonechat.
struct Ours {
    server: Server,
    address: SocketAddr,
    credential: String,
}

impl Ours {
    async fn start(program: &Path, folder: &Path) -> Result<Self, Failure> {
        let address = SocketAddr::from(([127, 0, 0, 1], stonechat_backends::server::free_ports(1)?[0]));
        let log = folder.join("server.log");
        let mut server = Server::new(program.to_owned(), folder.join("data"), address, log);
        server.start()?;
        let (started, _) = server.ready(START).await?;
        Ok(Self { server, address, credential: format!("Authorization: Bearer {}", token_of(&started)?) })
    }

    fn pid(&mut self) -> Result<u32, Failure> {
        self.server.pid().ok_or_else(|| "the server has ended".into())
    }

    fn head(&self, line: String, more: &[String]) -> Vec<String> {
        let tus = "Tus-Resumable: 1.0.0".to_owned();
        [line, self.credential.clone(), tus].into_iter().chain(more.iter().cloned()).collect()
    }

    async fn begin(&self, more: &[String]) -> Result<String, Failure> {
        let answer = wire::ask(self.address, &self.head("POST /v1/uploads HTTP/1.1".to_owned(), more), None).await?;
        Ok(answer.header("location").ok_or("an upload without a place")?.to_owned())
    }

    /// Uploads, in one request or in as many parts as streams; gives the file's id.
    async fn upload(&self, file: &File, streams: u64) -> Result<String, Failure> {
        let is_whole = streams == 1;
        let uploads = file.parts(streams).map(|part| async move {
            let mut wish = vec![format!("Upload-Length: {}", part.1)];
            wish.extend((!is_whole).then(|| "Upload-Concat: partial".to_owned()));
            let place = self.begin(&wish).await?;
            let more = ["Upload-Offset: 0".to_owned(), "Content-Type: application/offset+octet-stream".to_owned()];
            let head = self.head(format!("PATCH {place} HTTP/1.1"), &more);
            wire::ask(self.address, &head, Some(file.part(part))).await?;
            Ok::<_, Failure>(place)
        });
        let places = futures::future::try_join_all(uploads).await?;
        let place = match places.as_slice() {
            [place] => place.clone(),
            places => self.begin(&[format!("Upload-Concat: final;{}", places.join(" "))]).await?,
        };
        Ok(place.rsplit('/').next().unwrap_or_default().to_owned())
    }

    async fn download(&self, id: &str, file: &File, streams: u64) -> Result<(), Failure> {
        let head = self.head(format!("GET /v1/files/{id} HTTP/1.1"), &[]);
        fetch(self.address, &head, file, streams).await
    }

    async fn hash(&self, id: &str) -> Result<[u8; 32], Failure> {
        let head = self.head(format!("GET /v1/files/{id} HTTP/1.1"), &[]);
        let mut hash = Sha256::new();
        wire::ask(self.address, &head, None).await?.read(|bytes| hash.update(bytes)).await?;
        Ok(hash.finalize().into())
    }
}

/// Fetches a file by as many ranges as streams.
pub async fn fetch(server: SocketAddr, head: &[String], file: &File, streams: u64) -> Result<(), Failure> {
    let ranges = file.parts(streams).map(|(from, length)| async move {
        let range = format!("Range: bytes={from}-{}", from + length - 1);
        let head: Vec<String> = head.iter().cloned().chain([range]).collect();
        let read = wire::ask(server, &head, None).await?.read(|_| ()).await?;
        if read == length { Ok(()) } else { Err(Failure::from(format!("{read} bytes of {length} came"))) }
    });
    futures::future::try_join_all(ranges).await.map(drop)
}
