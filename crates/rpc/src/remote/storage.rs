//! Rows in another process.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use prost::Message as _;
use stonechat_errors::Error;
use stonechat_model::limits;
use stonechat_proto::internal::v1::{
    CallFrame, CompareAndSetRow, DeleteRows, GetRows, PurgeRows, RangeRows, ReplyFrame, RowFound, RowKey, RowPut,
    StorageReply, StorageRequest, WriteRows, storage_client::StorageClient, storage_request::Kind, storage_server,
};
use stonechat_rows::{Key, KeyPart, Put, Range, Row, Rows, RowsError, Table, tables};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status, Streaming};

use super::{
    FRAME_BYTES, Peers,
    calls::{Caller, Repeat},
    errors::{of_rows, to_rows, unreadable},
    serving::{Handler, Serving},
};

const ROLE: &str = "storage";
const TIMEOUT: Duration = Duration::from_millis(limits::STORAGE_CALL_TIMEOUT_MS);

/// The rows as the storage role keeps them.
pub struct RemoteRows {
    caller: Arc<Caller>,
}

impl RemoteRows {
    /// Rows of these processes; they are called until shutdown by the future that comes with them.
    pub fn new(peers: Peers, shutdown: CancellationToken) -> (Arc<Self>, impl Future<Output = ()> + Send) {
        let caller = Caller::new(ROLE);
        let run = Arc::clone(&caller).run(
            peers,
            |channel, frames| {
                Box::pin(async move {
                    let client = StorageClient::new(channel);
                    let mut client =
                        client.max_decoding_message_size(FRAME_BYTES).max_encoding_message_size(FRAME_BYTES);
                    Ok(client.calls(frames).await?.into_inner())
                })
            },
            shutdown,
        );
        (Arc::new(Self { caller }), run)
    }

    /// How many processes can be called.
    pub fn ready(&self) -> watch::Receiver<usize> {
        self.caller.ready()
    }

    async fn call(&self, kind: Kind, repeat: Repeat) -> Result<StorageReply, RowsError> {
        let body = StorageRequest { kind: Some(kind) }.encode_to_vec();
        let reply = self.caller.call(body.into(), TIMEOUT, repeat).await.map_err(to_rows)?;
        StorageReply::decode(reply).map_err(|e| RowsError::Corrupt(format!("reply of storage: {e}")))
    }
}

#[async_trait]
impl Rows for RemoteRows {
    async fn write(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        let puts = puts.into_iter().map(put_to_wire).collect();
        self.call(Kind::Write(WriteRows { puts }), Repeat::Harmless).await?;
        Ok(())
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
        if keys.is_empty() {
            return Ok(Vec::new());
        }
        let wire = keys.iter().map(key_to_wire).collect();
        let reply = self.call(Kind::Get(GetRows { keys: wire }), Repeat::Harmless).await?;
        if reply.found.len() != keys.len() {
            return Err(RowsError::Corrupt("storage replied to other keys".to_owned()));
        }
        let mut rows = reply.rows.into_iter();
        let found = keys.iter().zip(reply.found).map(|(key, found)| {
            let row = if found { rows.next() } else { None };
            row.map(|row| Row { key: key.clone(), value: row.value, version: row.version })
        });
        Ok(found.collect())
    }

    async fn range(&self, range: Range) -> Result<Vec<Row>, RowsError> {
        let wire = RangeRows {
            partition: Some(RowKey { table: range.table.name.to_owned(), parts: encode(&range.partition) }),
            from: range.from.as_deref().map(encode),
            until: range.until.as_deref().map(encode),
            reverse: range.reverse,
            limit: u32::try_from(range.limit).unwrap_or(u32::MAX),
        };
        let reply = self.call(Kind::Range(wire), Repeat::Harmless).await?;
        let row = |row: RowFound| {
            let key = Key::decode_clustering(range.table, &range.partition, &row.clustering)?;
            Ok(Row { key, value: row.value, version: row.version })
        };
        reply.rows.into_iter().map(row).collect()
    }

    async fn compare_and_set(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError> {
        let request = CompareAndSetRow { put: Some(put_to_wire(put)), expected };
        Ok(self.call(Kind::CompareAndSet(request), Repeat::Never).await?.written)
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), RowsError> {
        let keys = keys.iter().map(key_to_wire).collect();
        self.call(Kind::Delete(DeleteRows { keys }), Repeat::Harmless).await?;
        Ok(())
    }

    async fn delete_partition(&self, table: &'static Table, partition: Vec<KeyPart>) -> Result<(), RowsError> {
        let wire = RowKey { table: table.name.to_owned(), parts: encode(&partition) };
        self.call(Kind::DeletePartition(wire), Repeat::Harmless).await?;
        Ok(())
    }

    async fn purge(&self) -> Result<(), RowsError> {
        self.call(Kind::Purge(PurgeRows {}), Repeat::Harmless).await?;
        Ok(())
    }
}

/// The storage role's service over an engine.
pub struct StorageServer(Serving);

impl StorageServer {
    /// Serves these rows; after `drain` callers are told to go elsewhere.
    pub fn service(
        rows: Arc<dyn Rows>,
        drain: CancellationToken,
    ) -> storage_server::StorageServer<impl storage_server::Storage> {
        let server = storage_server::StorageServer::new(Self(Serving::new(ROLE, Arc::new(Engine(rows)), drain)));
        server.max_decoding_message_size(FRAME_BYTES).max_encoding_message_size(FRAME_BYTES)
    }
}

#[async_trait]
impl storage_server::Storage for StorageServer {
    type CallsStream = futures::stream::BoxStream<'static, Result<ReplyFrame, Status>>;

    async fn calls(&self, request: Request<Streaming<CallFrame>>) -> Result<Response<Self::CallsStream>, Status> {
        Ok(Response::new(Box::pin(self.0.serve(request.into_inner()))))
    }
}

struct Engine(Arc<dyn Rows>);

#[async_trait]
impl Handler for Engine {
    async fn handle(&self, request: Bytes) -> Result<Bytes, Error> {
        let request = StorageRequest::decode(request).map_err(unreadable)?;
        let kind = request.kind.ok_or_else(|| unreadable("nothing is asked"))?;
        let reply = self.answer(kind).await.map_err(of_rows)?;
        Ok(reply.encode_to_vec().into())
    }
}

impl Engine {
    async fn answer(&self, kind: Kind) -> Result<StorageReply, RowsError> {
        let mut reply = StorageReply::default();
        match kind {
            Kind::Write(it) => {
                let puts = it.puts.into_iter().map(put_from_wire).collect::<Result<_, _>>()?;
                self.0.write(puts).await?;
            }
            Kind::Get(it) => {
                let keys = keys_from_wire(it.keys)?;
                for row in self.0.get(&keys).await? {
                    reply.found.push(row.is_some());
                    let found =
                        |row: Row| RowFound { clustering: Bytes::new(), value: row.value, version: row.version };
                    reply.rows.extend(row.map(found));
                }
            }
            Kind::Range(it) => {
                let rows = self.0.range(range_from_wire(it)?).await?;
                let found = |row: Row| {
                    let clustering = encode(row.key.clustering());
                    RowFound { clustering, value: row.value, version: row.version }
                };
                reply.rows = rows.into_iter().map(found).collect();
            }
            Kind::CompareAndSet(it) => {
                let put = put_from_wire(it.put.unwrap_or_default())?;
                reply.written = self.0.compare_and_set(put, it.expected).await?;
            }
            Kind::Delete(it) => self.0.delete(&keys_from_wire(it.keys)?).await?,
            Kind::DeletePartition(it) => {
                let table = table(&it.table)?;
                let partition = KeyPart::decode_prefix(table.partition, &it.parts).map_err(refused)?;
                self.0.delete_partition(table, partition).await?;
            }
            Kind::Purge(_) => {
                // It takes longer than a caller waits.
                let rows = Arc::clone(&self.0);
                tokio::spawn(async move {
                    if let Err(error) = rows.purge().await {
                        tracing::warn!(%error, "files could not be written anew");
                    }
                });
            }
        }
        Ok(reply)
    }
}

fn encode(parts: &[KeyPart]) -> Bytes {
    let mut bytes = Vec::with_capacity(parts.iter().map(KeyPart::encoded_len).sum());
    parts.iter().for_each(|part| part.encode(&mut bytes));
    bytes.into()
}

fn key_to_wire(key: &Key) -> RowKey {
    RowKey { table: key.table.name.to_owned(), parts: encode(&key.parts) }
}

fn put_to_wire(put: Put) -> RowPut {
    let ttl_s = put.ttl.map_or(0, |ttl| ttl.as_secs().max(1));
    RowPut { key: Some(key_to_wire(&put.key)), value: put.value, version: put.version, ttl_s }
}

fn table(name: &str) -> Result<&'static Table, RowsError> {
    let unknown = || RowsError::BadRequest("there is no such table".to_owned());
    tables::ALL.iter().find(|table| table.name == name).copied().ok_or_else(unknown)
}

fn refused(error: RowsError) -> RowsError {
    // What another process sends is a request, not something stored.
    RowsError::BadRequest(error.to_string())
}

fn key_from_wire(key: RowKey) -> Result<Key, RowsError> {
    Key::decode(table(&key.table)?, &key.parts).map_err(refused)
}

fn keys_from_wire(keys: Vec<RowKey>) -> Result<Vec<Key>, RowsError> {
    keys.into_iter().map(key_from_wire).collect()
}

fn put_from_wire(put: RowPut) -> Result<Put, RowsError> {
    let key = key_from_wire(put.key.unwrap_or_default())?;
    let ttl = (put.ttl_s > 0).then(|| Duration::from_secs(put.ttl_s));
    Ok(Put { key, value: put.value, version: put.version, ttl })
}

fn range_from_wire(range: RangeRows) -> Result<Range, RowsError> {
    let partition = range.partition.unwrap_or_default();
    let table = table(&partition.table)?;
    let clustering = |bytes: Option<Bytes>| {
        let parts = |bytes: Bytes| KeyPart::decode_prefix(table.clustering, &bytes).map_err(refused);
        bytes.map(parts).transpose()
    };
    let parts = KeyPart::decode_prefix(table.partition, &partition.parts).map_err(refused)?;
    Ok(Range {
        table,
        partition: parts,
        from: clustering(range.from)?,
        until: clustering(range.until)?,
        reverse: range.reverse,
        limit: usize::try_from(range.limit).unwrap_or(usize::MAX),
    })
}
