//! Rows in ScyllaDB, or in Cassandra, by CQL.
//!
//! A column per key part, the value as a blob, and its version, which is also the write's timestamp: so the greater
//! version wins without being read. Everything is read and written with the quorum of one datacenter.
//!
//! **Order.** A batch is no transaction here. It is written in three steps, each acknowledged before the next begins:
//! events with their client ids, what derives from them, heads. What a crash leaves is a log whose head is behind its
//! events, which loading rolls forward. See `docs/adr/0010-rows-in-cql.md`.
//!
//! **Equal versions.** Of two writes of one version the greater bytes stay. Writers of one version write the same
//! bytes, or in one batch, where the later one counts.

mod config;
mod read;
mod replicas;
mod schema;
mod statements;
mod values;
mod write;

pub use config::CqlConfig;
#[cfg(feature = "conformance")]
pub use schema::truncate;
pub use schema::{CqlPrepared, Replication, prepare};

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use scylla::{
    client::{execution_profile::ExecutionProfile, session::Session, session_builder::SessionBuilder},
    policies::{
        load_balancing::{DefaultPolicy, LoadBalancingPolicy},
        speculative_execution::SimpleSpeculativeExecutionPolicy,
    },
    response::PagingState,
    statement::{Consistency, SerialConsistency, prepared::PreparedStatement},
    value::{CqlValue, Row as CqlRow},
};
use stonechat_model::limits;
use tokio::sync::Semaphore;

use crate::{Key, KeyPart, Put, Range, Row, Rows, RowsError, Table, tables};
use statements::Statements;
use values::{part_value, range_row, version_value};

/// When a node has not answered after this, what may be done twice is asked of a second one as well.
const SPECULATE_AFTER: Duration = Duration::from_millis(150);

/// Rows in ScyllaDB.
pub struct CqlRows {
    store: Arc<Store>,
    /// Calls at once; more are refused.
    calls: Arc<Semaphore>,
    timeout: Duration,
}

/// What a call works with.
struct Store {
    session: Session,
    keyspace: String,
    /// Which nodes are asked.
    policy: Arc<dyn LoadBalancingPolicy>,
    statements: Vec<Statements>,
    /// Requests that the nodes have at once.
    requests: Semaphore,
    at_once: usize,
}

/// Those that have what is asked for, in the datacenter of the configuration.
fn policy(config: &CqlConfig) -> Arc<dyn LoadBalancingPolicy> {
    let mut policy = DefaultPolicy::builder().token_aware(true);
    if let Some(datacenter) = &config.datacenter {
        policy = policy.prefer_datacenter(datacenter.clone());
    }
    policy.build()
}

/// Connects without a keyspace.
async fn connect(config: &CqlConfig, policy: Arc<dyn LoadBalancingPolicy>) -> Result<Session, RowsError> {
    let speculation = SimpleSpeculativeExecutionPolicy { max_retry_count: 1, retry_interval: SPECULATE_AFTER };
    let profile = ExecutionProfile::builder()
        .consistency(Consistency::LocalQuorum)
        .serial_consistency(Some(SerialConsistency::LocalSerial))
        .request_timeout(Some(config.request_timeout))
        .load_balancing_policy(policy)
        .speculative_execution_policy(Some(Arc::new(speculation)))
        .build();
    let mut builder = SessionBuilder::new()
        .known_nodes(&config.nodes)
        .tcp_nodelay(true)
        .tls_context(config.tls.clone())
        .connection_timeout(config.request_timeout)
        .default_execution_profile_handle(profile.into_handle());
    if let Some((user, password)) = &config.credentials {
        builder = builder.user(user, password);
    }
    builder.build().await.map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> RowsError {
    metrics::counter!("stonechat_rows_cql_errors_total").increment(1);
    RowsError::Unavailable(error.to_string())
}

impl CqlRows {
    /// Opens the rows of a keyspace that [`prepare`] has made.
    ///
    /// # Errors
    /// No node answers; the keyspace or a table is missing or of another shape.
    pub async fn open(config: &CqlConfig) -> Result<Arc<Self>, RowsError> {
        schema::check_name(&config.keyspace)?;
        let policy = policy(config);
        let session = connect(config, Arc::clone(&policy)).await?;
        schema::check(&session, &config.keyspace).await?;
        session.use_keyspace(&config.keyspace, false).await.map_err(failed)?;
        let at_once = config.in_flight.max(1);
        let statements = tables::ALL.iter().map(|table| Statements::new(table)).collect();
        let (keyspace, requests) = (config.keyspace.clone(), Semaphore::new(at_once));
        let store = Arc::new(Store { session, keyspace, policy, statements, requests, at_once });
        Ok(Arc::new(Self { store, calls: Arc::new(Semaphore::new(at_once)), timeout: config.request_timeout }))
    }

    /// Does a call, within its time, unless too many are done already. It goes on when nobody waits for it any more:
    /// a request that is given up keeps its place on its connection.
    async fn call<T, F>(&self, what: &'static str, work: impl FnOnce(Arc<Store>) -> F) -> Result<T, RowsError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RowsError>> + Send + 'static,
    {
        let Ok(permit) = Arc::clone(&self.calls).try_acquire_owned() else {
            metrics::counter!("stonechat_rows_cql_refused_total").increment(1);
            return Err(RowsError::Unavailable("too many requests wait for the store".to_owned()));
        };
        let begun = std::time::Instant::now();
        let work = work(Arc::clone(&self.store));
        let working = tokio::spawn(async move {
            let done = work.await;
            drop(permit);
            done
        });
        let done = tokio::time::timeout(self.timeout, working).await;
        metrics::histogram!("stonechat_rows_cql_seconds", "call" => what).record(begun.elapsed().as_secs_f64());
        done.map_err(|_| failed(format!("the store did not answer within {} ms", self.timeout.as_millis())))?
            .map_err(failed)?
    }
}

impl Store {
    fn statements(&self, table: &'static Table) -> Result<&Statements, RowsError> {
        let of_table = self.statements.iter().find(|statements| std::ptr::eq(statements.table, table));
        of_table.ok_or_else(|| RowsError::BadRequest(format!("{} is no table of this store", table.name)))
    }

    /// Executes a statement, all of whose answer is on one page.
    async fn execute(&self, statement: &PreparedStatement, values: Vec<CqlValue>) -> Result<Vec<CqlRow>, RowsError> {
        let _permit = self.requests.acquire().await.map_err(failed)?;
        let result = self.session.execute_unpaged(statement, values).await.map_err(failed)?;
        if !result.is_rows() {
            return Ok(Vec::new());
        }
        let rows = result.into_rows_result().map_err(failed)?;
        rows.rows::<CqlRow>().map_err(failed)?.collect::<Result<_, _>>().map_err(failed)
    }

    /// Executes a statement page by page, up to so many rows.
    async fn execute_paged(
        &self,
        statement: &PreparedStatement,
        values: Vec<CqlValue>,
        limit: usize,
    ) -> Result<Vec<CqlRow>, RowsError> {
        let mut found: Vec<CqlRow> = Vec::new();
        let mut state = PagingState::start();
        loop {
            let _permit = self.requests.acquire().await.map_err(failed)?;
            let page = self.session.execute_single_page(statement, &values, state).await;
            let (result, next) = page.map_err(failed)?;
            let rows = result.into_rows_result().map_err(failed)?;
            for row in rows.rows::<CqlRow>().map_err(failed)? {
                found.push(row.map_err(failed)?);
            }
            match next.into_paging_control_flow() {
                std::ops::ControlFlow::Continue(next) if found.len() < limit => state = next,
                _ => return Ok(found),
            }
        }
    }

    async fn read_range(&self, range: Range) -> Result<Vec<Row>, RowsError> {
        let limit = range.limit.min(limits::RANGE_ROWS);
        let from = range.from.as_deref().unwrap_or_default();
        let until = range.until.as_deref().unwrap_or_default();
        // Nothing is before an empty prefix.
        if limit == 0 || (range.until.is_some() && until.is_empty()) {
            return Ok(Vec::new());
        }
        if range.table.clustering.is_empty() {
            let key = Key::new(range.table, range.partition);
            return Ok(self.get_one(&key).await?.into_iter().collect());
        }
        let kind = (from.len(), until.len(), range.reverse);
        let statement = self.statements(range.table)?.range(&self.session, kind).await?;
        let parts = range.partition.iter().chain(from).chain(until);
        let mut values = parts.map(part_value).collect::<Result<Vec<_>, _>>()?;
        values.push(CqlValue::Int(i32::try_from(limit).unwrap_or(i32::MAX)));
        let rows = self.execute_paged(statement, values, limit).await?;
        rows.into_iter().map(|row| range_row(range.table, &range.partition, row.columns)).collect()
    }

    async fn set_if(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError> {
        put.key.check()?;
        let statements = self.statements(put.key.table)?;
        let key = put.key.parts.iter().map(part_value).collect::<Result<Vec<_>, _>>()?;
        let row = [CqlValue::Blob(put.value.to_vec()), version_value(put.version)?];
        let ttl = put.key.table.expires.then(|| write::ttl_value(&put));
        let (statement, values) = match expected {
            None => (statements.insert_new(&self.session).await?, key.into_iter().chain(row).chain(ttl).collect()),
            Some(expected) => {
                let values = ttl.into_iter().chain(row).chain(key).chain([version_value(expected)?]).collect();
                (statements.replace(&self.session).await?, values)
            }
        };
        // Beside it stands what was found, in more columns where it was refused.
        let answer = self.execute(statement, values).await?;
        match answer.first().and_then(|row| row.columns.first()) {
            Some(Some(CqlValue::Boolean(applied))) => Ok(*applied),
            _ => Err(RowsError::Corrupt("conditional write was not answered".to_owned())),
        }
    }
}

#[async_trait]
impl Rows for CqlRows {
    async fn write(&self, puts: Vec<Put>) -> Result<(), RowsError> {
        self.call("write", |store| async move { store.write_all(puts).await }).await
    }

    async fn get(&self, keys: &[Key]) -> Result<Vec<Option<Row>>, RowsError> {
        if keys.len() > limits::GET_KEYS {
            return Err(RowsError::BadRequest(format!("at most {} keys at once", limits::GET_KEYS)));
        }
        let keys = keys.to_vec();
        self.call("get", |store| async move { store.get_all(&keys).await }).await
    }

    async fn range(&self, range: Range) -> Result<Vec<Row>, RowsError> {
        range.check()?;
        self.call("range", |store| async move { store.read_range(range).await }).await
    }

    async fn compare_and_set(&self, put: Put, expected: Option<u64>) -> Result<bool, RowsError> {
        self.call("compare_and_set", move |store| async move { store.set_if(put, expected).await }).await
    }

    async fn delete(&self, keys: &[Key]) -> Result<(), RowsError> {
        let keys = keys.to_vec();
        self.call("delete", |store| async move { store.delete_all(&keys).await }).await
    }

    async fn delete_partition(&self, table: &'static Table, partition: Vec<KeyPart>) -> Result<(), RowsError> {
        let whole = Range { table, partition, from: None, until: None, reverse: false, limit: 1 };
        whole.check()?;
        // One tombstone for all rows, and none where there is no row.
        self.call("delete_partition", move |store| async move {
            if store.read_range(whole.clone()).await?.is_empty() {
                return Ok(());
            }
            store.delete_whole(table, &whole.partition).await
        })
        .await
    }
}
