//! Rows in another process pass the suite of every engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use futures::{StreamExt as _, stream::BoxStream};
use stonechat_proto::internal::v1::{Call, CallFrame, Reply, ReplyFrame, storage_server};
use stonechat_rows::{
    EmbeddedRows, EmbeddedRowsConfig, Key, Put, Range, Row, Rows, RowsError, conformance::Engine, tables,
};
use stonechat_rpc::remote::{RemoteRows, StorageServer};
use support::Server;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

const PATIENCE: Duration = Duration::from_secs(20);

struct Guard {
    end: CancellationToken,
    _server: Server,
    _folder: tempfile::TempDir,
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.end.cancel();
    }
}

async fn remote() -> Engine {
    let folder = tempfile::tempdir().unwrap();
    let rows = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    let server = Server::start(|drain| StorageServer::service(rows, drain)).await;
    let end = CancellationToken::new();
    let (rows, run) = RemoteRows::new(support::peers(&[server.address]), end.clone());
    tokio::spawn(run);
    Engine {
        rows,
        is_atomic: true,
        equal_replaces: true,
        guard: Box::new(Guard { end, _server: server, _folder: folder }),
    }
}

stonechat_rows::rows_conformance!(remote);

#[tokio::test]
async fn a_lost_process_is_replaced_by_another() {
    let folder = tempfile::tempdir().unwrap();
    let engine: Arc<dyn Rows> = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    let serve = || Server::start(|drain| StorageServer::service(Arc::clone(&engine), drain));
    let (first, second) = (serve().await, serve().await);
    let (rows, run) = RemoteRows::new(support::peers(&[first.address, second.address]), CancellationToken::new());
    tokio::spawn(run);
    rows.ready().wait_for(|count| *count == 2).await.unwrap();
    first.kill().await;
    for number in 0..50 {
        let key = tables::counter(&format!("c{number}"));
        let put = stonechat_rows::Put { key: key.clone(), value: vec![1].into(), version: 1, ttl: None };
        rows.write(vec![put]).await.unwrap();
        assert!(rows.get(&[key]).await.unwrap()[0].is_some());
    }
}

#[tokio::test]
async fn a_process_that_drains_answers_what_it_has_and_gets_nothing_more() {
    let folder = tempfile::tempdir().unwrap();
    let engine: Arc<dyn Rows> = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    let serve = || Server::start(|drain| StorageServer::service(Arc::clone(&engine), drain));
    let (first, second) = (serve().await, serve().await);
    let (rows, run) = RemoteRows::new(support::peers(&[first.address, second.address]), CancellationToken::new());
    tokio::spawn(run);
    rows.ready().wait_for(|count| *count == 2).await.unwrap();
    let reads = (0..200).map(|number| {
        let rows = Arc::clone(&rows);
        tokio::spawn(async move { rows.get(&[tables::counter(&format!("c{number}"))]).await })
    });
    let reads: Vec<_> = reads.collect();
    first.drain.cancel();
    for read in reads {
        read.await.unwrap().unwrap();
    }
    rows.ready().wait_for(|count| *count == 1).await.unwrap();
    first.stop().await;
    rows.get(&[tables::counter("after")]).await.unwrap();
}

/// Rows that answer nothing while they are stuck, and say how often they were asked.
struct Sticking {
    engine: Arc<dyn Rows>,
    stuck: watch::Sender<bool>,
    asked: AtomicUsize,
}

impl Sticking {
    fn new(engine: &Arc<dyn Rows>) -> Arc<Self> {
        Arc::new(Self { engine: Arc::clone(engine), stuck: watch::Sender::new(false), asked: AtomicUsize::new(0) })
    }

    fn asked(&self) -> usize {
        self.asked.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Rows for Sticking {
    async fn write(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        self.engine.write(puts).await
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
        self.asked.fetch_add(1, Ordering::Relaxed);
        if *self.stuck.borrow() {
            return Err(RowsError::Unavailable("the store does not answer".to_owned()));
        }
        self.engine.get(keys).await
    }

    async fn range(&self, range: Range) -> Result<Vec<Row>, RowsError> {
        self.engine.range(range).await
    }

    async fn compare_and_set(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError> {
        self.engine.compare_and_set(put, expected).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), RowsError> {
        self.engine.delete(keys).await
    }
}

#[tokio::test]
async fn a_process_that_fails_rests_until_a_probe_succeeds() {
    let folder = tempfile::tempdir().unwrap();
    let engine: Arc<dyn Rows> = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    let (bad, good) = (Sticking::new(&engine), Sticking::new(&engine));
    let first = Server::start(|drain| StorageServer::service(Arc::clone(&bad) as Arc<dyn Rows>, drain)).await;
    let second = Server::start(|drain| StorageServer::service(Arc::clone(&good) as Arc<dyn Rows>, drain)).await;
    let (rows, run) = RemoteRows::new(support::peers(&[first.address, second.address]), CancellationToken::new());
    tokio::spawn(run);
    rows.ready().wait_for(|count| *count == 2).await.unwrap();
    bad.stuck.send_replace(true);
    let key = [tables::counter("c")];
    let mut failures = 0;
    for _ in 0..200 {
        failures += usize::from(rows.get(&key).await.is_err());
    }
    // Only as many as it takes to notice, and a probe now and then.
    assert!((5..20).contains(&failures), "{failures}");
    assert_eq!(bad.asked(), failures);
    assert_eq!(good.asked() + failures, 200);
    bad.stuck.send_replace(false);
    let before = bad.asked();
    // A probe finds that it answers, after which it has its share again.
    let shared = async {
        while bad.asked() < before + 20 {
            rows.get(&key).await.unwrap();
        }
    };
    tokio::time::timeout(PATIENCE, shared).await.unwrap();
}

#[tokio::test]
async fn where_every_process_fails_calls_go_on_and_work_at_once_when_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let engine: Arc<dyn Rows> = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    let only = Sticking::new(&engine);
    let server = Server::start(|drain| StorageServer::service(Arc::clone(&only) as Arc<dyn Rows>, drain)).await;
    let (rows, run) = RemoteRows::new(support::peers(&[server.address]), CancellationToken::new());
    tokio::spawn(run);
    only.stuck.send_replace(true);
    let key = [tables::counter("c")];
    for _ in 0..20 {
        assert!(rows.get(&key).await.unwrap_err().is_retryable());
    }
    only.stuck.send_replace(false);
    rows.get(&key).await.unwrap();
}

#[tokio::test]
async fn what_one_process_has_no_time_for_another_one_does() {
    let folder = tempfile::tempdir().unwrap();
    let engine: Arc<dyn Rows> = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    let busy = Server::start(|_| storage_server::StorageServer::new(Busy)).await;
    let free = Server::start(|drain| StorageServer::service(Arc::clone(&engine), drain)).await;
    let (rows, run) = RemoteRows::new(support::peers(&[busy.address, free.address]), CancellationToken::new());
    tokio::spawn(run);
    rows.ready().wait_for(|count| *count == 2).await.unwrap();
    for version in 1..=50 {
        // Also what is done once at most: it was not begun.
        let put = Put { key: tables::counter("c"), value: vec![1].into(), version, ttl: None };
        assert!(rows.compare_and_set(put, (version > 1).then(|| version - 1)).await.unwrap());
    }
}

/// A process that begins nothing.
#[derive(Default)]
struct Busy;

#[async_trait]
impl storage_server::Storage for Busy {
    type CallsStream = BoxStream<'static, Result<ReplyFrame, Status>>;

    async fn calls(&self, request: Request<Streaming<CallFrame>>) -> Result<Response<Self::CallsStream>, Status> {
        let refuse = |call: Call| {
            let error = stonechat_errors::Error::unavailable("storage has too much to do").to_frame(0);
            Reply { id: call.id, error: Some(error), shed: true, ..Reply::default() }
        };
        let replies = request.into_inner().map(move |frame| {
            Ok(ReplyFrame { replies: frame?.calls.into_iter().map(refuse).collect(), draining: false })
        });
        Ok(Response::new(Box::pin(replies)))
    }
}

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_stream_lives_on() {
    use prost::Message as _;
    use stonechat_proto::internal::v1::{
        GetRows, RowKey, StorageRequest, storage_client::StorageClient, storage_request::Kind,
    };
    let folder = tempfile::tempdir().unwrap();
    let engine = EmbeddedRows::open(folder.path(), EmbeddedRowsConfig::default()).unwrap();
    let server = Server::start(|drain| StorageServer::service(engine, drain)).await;
    let get = |table: &str, parts: &'static [u8]| {
        let key = RowKey { table: table.to_owned(), parts: parts.into() };
        StorageRequest { kind: Some(Kind::Get(GetRows { keys: vec![key] })) }.encode_to_vec()
    };
    let hostile = [
        vec![0xff; 40],
        Vec::new(),
        get("no_such_table", b"a\0"),
        get("heads", b"no end"),
        get("heads", b"a\0b\0c\0"),
        get("heads", &[0xff, 0xfe, 0, 0]),
        get("events", b"t\0l\0\x01\x02"),
    ];
    let calls = hostile.iter().zip(1..).map(|(body, id)| Call { id, timeout_ms: 5_000, body: body.clone().into() });
    let good = Call { id: 99, timeout_ms: 5_000, body: get("heads", b"t\0l\0").into() };
    let frame = CallFrame { calls: calls.chain([good]).collect() };
    let channel = (support::peers(&[server.address]).dial)(server.address);
    let frames = futures::stream::iter([frame]);
    let mut replies = StorageClient::new(channel).calls(frames).await.unwrap().into_inner();
    let mut refused = Vec::new();
    let mut answered = false;
    while let Some(frame) = replies.message().await.unwrap() {
        for reply in frame.replies {
            match reply.error {
                Some(error) => refused.push((reply.id, error.code)),
                None => answered = reply.id == 99,
            }
        }
    }
    refused.sort();
    let expected: Vec<_> = (1..=7).map(|id| (id, "invalid_argument".to_owned())).collect();
    assert_eq!(refused, expected);
    assert!(answered);
}

#[tokio::test(start_paused = true)]
async fn nobody_to_call_is_a_retryable_error_in_time() {
    let (rows, run) = RemoteRows::new(support::peers(&[]), CancellationToken::new());
    tokio::spawn(run);
    let error = rows.get(&[tables::counter("c")]).await.unwrap_err();
    assert!(matches!(&error, RowsError::Unavailable(_)), "{error}");
    assert!(error.is_retryable());
}
