//! Rows in another process pass the suite of every engine.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod support;

use std::sync::Arc;

use stonechat_rows::{EmbeddedRows, EmbeddedRowsConfig, Rows, RowsError, conformance::Engine, tables};
use stonechat_rpc::remote::{RemoteRows, StorageServer};
use support::Server;
use tokio_util::sync::CancellationToken;

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

#[tokio::test]
async fn what_is_no_request_is_refused_and_the_stream_lives_on() {
    use prost::Message as _;
    use stonechat_proto::internal::v1::{
        Call, CallFrame, GetRows, RowKey, StorageRequest, storage_client::StorageClient, storage_request::Kind,
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
