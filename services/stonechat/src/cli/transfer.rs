//! `stonechat import` and `export`: a tenant's data as lines of JSON.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use clap::Args;
use futures::stream;
use hyper_rustls::HttpsConnectorBuilder;
use serde_json::json;
use stonechat_client::ClientError;
use stonechat_proto::v1::{
    DataItem, ExportDataRequest, ImportDataRequest, ImportDataResponse, data_item::Item,
    transfer_service_client::TransferServiceClient,
};
use tokio::io::{AsyncBufRead, AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, BufWriter};
use tonic::{
    Request,
    metadata::{Ascii, MetadataValue},
    transport::{Channel, Endpoint},
};

use super::{
    CliError, output,
    platform::{
        connection::chain,
        context::{self, Choice},
    },
};

/// Items of one call; after each the progress is kept.
const ITEMS_PER_CALL: usize = 20_000;
/// Items of one message.
const ITEMS_PER_MESSAGE: usize = 100;
/// How often progress is said.
const SAY_EVERY: Duration = Duration::from_secs(2);

/// Which server, for which tenant.
#[derive(Debug, Clone, Args)]
struct TenantArgs {
    /// The context that says server and key.
    #[arg(long, env = "STONECHAT_CONTEXT")]
    context: Option<String>,
    /// The server's URL, instead of the context's.
    #[arg(long, env = "STONECHAT_URL")]
    url: Option<String>,
    /// A server key of the tenant, instead of the context's; - reads it from standard input.
    #[arg(long, env = "STONECHAT_KEY", hide_env_values = true)]
    key: Option<String>,
}

/// A tenant's data on a server.
struct Tenant {
    client: TransferServiceClient<Channel>,
    bearer: MetadataValue<Ascii>,
}

/// What to bring in.
#[derive(Debug, Args)]
pub struct ImportArgs {
    #[command(flatten)]
    tenant: TenantArgs,
    /// Go on where an import of this file broke off.
    #[arg(long)]
    resume: bool,
    /// Print what came of it as JSON.
    #[arg(long)]
    json: bool,
    /// The file with a line of JSON for each item; `-` reads standard input.
    file: PathBuf,
}

/// What to take out.
#[derive(Debug, Args)]
pub struct ExportArgs {
    #[command(flatten)]
    tenant: TenantArgs,
    /// Only what is about this user.
    #[arg(long, default_value = "")]
    user: String,
    /// Where to write; standard output when not given.
    #[arg(long, short)]
    output: Option<PathBuf>,
}

impl TenantArgs {
    async fn connect(self) -> Result<Tenant, CliError> {
        let key = self.key.as_deref().map(context::key_text).transpose()?;
        let context = context::choose(Choice { context: self.context, url: self.url, key })?;
        let bearer = format!("Bearer {}", context.key).parse();
        let bearer = bearer.map_err(|_| CliError::Usage("the key is none".to_owned()))?;
        let url = |why: String| ClientError::Url(format!("{}: {why}", context.url));
        let endpoint = Endpoint::from_shared(context.url.clone()).map_err(|e| url(e.to_string()))?;
        if !matches!(endpoint.uri().scheme_str(), Some("http" | "https")) {
            return Err(url("it does not begin with http:// or https://".to_owned()).into());
        }
        let connector = HttpsConnectorBuilder::new().with_native_roots();
        let connector = connector.map_err(|e| CliError::Failed(format!("read certificates: {e}")))?;
        let channel = endpoint.connect_with_connector(connector.https_or_http().enable_http2().build()).await;
        let channel = channel.map_err(|error| ClientError::Unreachable(chain(&error)))?;
        Ok(Tenant { client: TransferServiceClient::new(channel), bearer })
    }
}

impl Tenant {
    fn request<T>(&self, message: T) -> Request<T> {
        let mut request = Request::new(message);
        request.metadata_mut().insert("authorization", self.bearer.clone());
        request
    }

    async fn send(&mut self, items: Vec<DataItem>) -> Result<ImportDataResponse, CliError> {
        let mut messages = Vec::with_capacity(items.len() / ITEMS_PER_MESSAGE + 1);
        let mut items = items.into_iter().peekable();
        while items.peek().is_some() {
            messages.push(ImportDataRequest { items: items.by_ref().take(ITEMS_PER_MESSAGE).collect() });
        }
        let request = self.request(stream::iter(messages));
        Ok(self.client.import_data(request).await.map_err(|status| refused(&status))?.into_inner())
    }
}

fn failed(what: &str, path: &Path, error: &std::io::Error) -> CliError {
    CliError::Failed(format!("{what} {}: {error}", path.display()))
}

fn refused(status: &tonic::Status) -> CliError {
    CliError::Refused(status.message().to_owned())
}

/// Lines of a file, read one by one and numbered, with the seqs that they leave out.
struct Items {
    lines: Box<dyn AsyncBufRead + Send + Unpin>,
    line: u64,
    /// Of conversations whose lines do not say their seqs, the newest one.
    seqs: HashMap<String, u64>,
}

impl Items {
    async fn open(path: &Path) -> Result<Self, CliError> {
        let lines: Box<dyn AsyncBufRead + Send + Unpin> = match path.to_str() {
            Some("-") => Box::new(BufReader::new(tokio::io::stdin())),
            _ => {
                let file = tokio::fs::File::open(path).await.map_err(|error| failed("open", path, &error))?;
                Box::new(BufReader::with_capacity(1 << 20, file))
            }
        };
        Ok(Self { lines, line: 0, seqs: HashMap::new() })
    }

    /// The next item; `None` after the last one.
    async fn next(&mut self) -> Result<Option<DataItem>, CliError> {
        let mut bytes = Vec::new();
        loop {
            bytes.clear();
            let read = self.lines.read_until(b'\n', &mut bytes).await;
            if read.map_err(|error| CliError::Failed(format!("line {}: {error}", self.line + 1)))? == 0 {
                return Ok(None);
            }
            self.line += 1;
            if bytes.iter().all(u8::is_ascii_whitespace) {
                continue;
            }
            let item: DataItem = serde_json::from_slice(&bytes)
                .map_err(|error| CliError::Failed(format!("line {}: {error}", self.line)))?;
            return Ok(Some(self.numbered(item)));
        }
    }

    /// Says the seq of an event that does not, so that it is the same when an import goes on.
    fn numbered(&mut self, mut item: DataItem) -> DataItem {
        if let Some(Item::Entry(entry)) = &mut item.item
            && let Some(event) = entry.event.as_mut().filter(|event| event.seq == 0)
        {
            let seq = self.seqs.entry(entry.conversation.clone()).or_default();
            *seq += 1;
            event.seq = *seq;
        }
        item
    }
}

/// How far an import came, in a file beside the imported one.
struct Progress(Option<PathBuf>);

impl Progress {
    fn of(file: &Path) -> Self {
        let mut name = file.as_os_str().to_owned();
        name.push(".progress");
        Self((file.as_os_str() != "-").then(|| PathBuf::from(name)))
    }

    fn read(&self) -> u64 {
        let text = self.0.as_ref().and_then(|path| std::fs::read_to_string(path).ok());
        text.and_then(|text| text.trim().parse().ok()).unwrap_or(0)
    }

    fn keep(&self, line: u64) -> Result<(), CliError> {
        let Some(path) = &self.0 else { return Ok(()) };
        std::fs::write(path, format!("{line}\n")).map_err(|error| failed("write", path, &error))
    }

    fn forget(&self) {
        if let Some(path) = &self.0 {
            // It may never have been written.
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Brings a file in.
pub async fn import(args: ImportArgs) -> Result<(), CliError> {
    let mut tenant = args.tenant.connect().await?;
    let mut items = Items::open(&args.file).await?;
    let progress = Progress::of(&args.file);
    let from = if args.resume { progress.read() } else { 0 };
    let (mut done, mut said) = (ImportDataResponse::default(), Instant::now());
    loop {
        let mut some = Vec::with_capacity(ITEMS_PER_CALL);
        while some.len() < ITEMS_PER_CALL {
            let Some(item) = items.next().await? else { break };
            if items.line > from {
                some.push(item);
            }
        }
        if some.is_empty() {
            break;
        }
        let answer = tenant.send(some).await?;
        done.items += answer.items;
        done.entries += answer.entries;
        done.users += answer.users;
        done.memberships += answer.memberships;
        progress.keep(items.line)?;
        if said.elapsed() >= SAY_EVERY {
            output::note(&format!("{} lines", items.line));
            said = Instant::now();
        }
    }
    progress.forget();
    match args.json {
        true => output::json(&json!({
            "items": done.items, "entries": done.entries, "users": done.users, "memberships": done.memberships,
        })),
        false => output::line(&format!(
            "{} items: {} users, {} entries, {} memberships",
            done.items, done.users, done.entries, done.memberships
        )),
    }
    Ok(())
}

/// Takes a tenant's or a user's data out.
pub async fn export(args: ExportArgs) -> Result<(), CliError> {
    let mut tenant = args.tenant.connect().await?;
    let request = tenant.request(ExportDataRequest { user: args.user });
    let mut items = tenant.client.export_data(request).await.map_err(|status| refused(&status))?.into_inner();
    let path = args.output.clone().unwrap_or_else(|| PathBuf::from("standard output"));
    let to: Box<dyn tokio::io::AsyncWrite + Send + Unpin> = match &args.output {
        Some(path) => Box::new(tokio::fs::File::create(path).await.map_err(|error| failed("make", path, &error))?),
        None => Box::new(tokio::io::stdout()),
    };
    let mut to = BufWriter::with_capacity(1 << 20, to);
    let (mut count, mut said) = (0_u64, Instant::now());
    while let Some(item) = items.message().await.map_err(|status| refused(&status))? {
        let mut line = serde_json::to_vec(&item).map_err(|error| CliError::Failed(format!("write JSON: {error}")))?;
        line.push(b'\n');
        to.write_all(&line).await.map_err(|error| failed("write", &path, &error))?;
        count += 1;
        if said.elapsed() >= SAY_EVERY {
            output::note(&format!("{count} items"));
            said = Instant::now();
        }
    }
    to.flush().await.map_err(|error| failed("write", &path, &error))?;
    output::note(&format!("{count} items"));
    Ok(())
}
