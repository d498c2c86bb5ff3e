//! A tenant's data as a whole: import, export, erasing, deleting, and for how long messages are kept.
//!
//! What takes long is a job ([`jobs`]): a row says that it is wanted, and whichever api process has time does it, again
//! from its beginning where one broke off. Everything here may be done twice.

mod delete;
mod erase;
mod expire;
mod export;
mod import;
mod jobs;
mod lines;
mod members;
mod served;
mod service;
mod stream;

pub(crate) use export::Export;
pub(crate) use import::Import;
pub use jobs::Jobs;
pub(crate) use lines::Lines;
pub(crate) use members::Members;
pub(crate) use served::{Served, Transfer, routes};

use std::{sync::Arc, time::Duration};

use prost::Message;
use service::DataOperations;
use stonechat_auth::Keys;
use stonechat_errors::{Code, Error};
use stonechat_model::{ConversationId, LogId, LogKey, TenantId};
use stonechat_proto::internal::v1::CommandRecord;
use stonechat_rows::{Row, Rows, RowsError};
use stonechat_rpc::{CommandCaller, Done};
use stonechat_views::Views;

use crate::{ApiConfig, Dependencies};

/// How long commands that could not be decided for now are tried again.
const PATIENCE: Duration = Duration::from_secs(60);
/// The pause before they are.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// What working on data takes.
#[derive(Clone)]
pub(crate) struct Data {
    /// The rows.
    pub rows: Arc<dyn Rows>,
    /// Reads over them.
    pub views: Views,
    /// Submits commands.
    pub caller: Arc<CommandCaller>,
    /// How long a command's outcome may take.
    pub timeout: Duration,
}

/// What serves the operations on data, and the jobs that they ask for.
pub(crate) fn serve(config: &ApiConfig, dependencies: &Dependencies) -> (Arc<Served>, Arc<Transfer>, Arc<Jobs>) {
    let rows = Arc::clone(&dependencies.rows);
    let (views, keys) = (Views::new(Arc::clone(&rows)), Keys::new(Arc::clone(&rows)));
    let data = Data { rows, views, caller: Arc::clone(&dependencies.caller), timeout: config.command_timeout };
    let jobs = Jobs::new(data.clone(), keys.clone());
    let presence = Arc::clone(&dependencies.presence);
    let operations = DataOperations { data: data.clone(), jobs: Arc::clone(&jobs), presence, keys };
    let gate = &dependencies.gate;
    let served = Served::new(Arc::new(operations), Arc::clone(gate));
    (Arc::new(served), Arc::new(Transfer::new(data, Arc::clone(gate))), jobs)
}

fn unavailable(error: RowsError) -> Error {
    tracing::warn!(%error, "rows did not answer about a tenant's data");
    Error::unavailable("rows do not answer")
}

fn decode<T: Message + Default>(row: &Row) -> Result<T, Error> {
    T::decode(row.value.clone()).map_err(|error| {
        tracing::error!(%error, table = row.key.table.name, "stored row is corrupt");
        Error::internal()
    })
}

fn conversation_log(tenant: &TenantId, id: &ConversationId) -> LogKey {
    LogKey { tenant: tenant.clone(), log: LogId::Conversation(id.clone()) }
}

/// Whether the same command may lead to something else when it is submitted again.
fn may_pass(error: &Error) -> bool {
    error.is_retryable() || matches!(error.code, Code::DeadlineExceeded | Code::Internal)
}

impl Data {
    /// Has commands decided that may come twice, in their order within each log; gives the outcomes in their order, or
    /// the first refusal with the place of its command. What could not be decided is submitted again for a while.
    async fn submit_all(&self, commands: Vec<CommandRecord>) -> Result<Vec<Done>, (usize, Error)> {
        let deadline = tokio::time::Instant::now() + PATIENCE;
        let mut outcomes: Vec<Option<Done>> = commands.iter().map(|_| None).collect();
        let mut waiting: Vec<usize> = (0..commands.len()).collect();
        while !waiting.is_empty() {
            let mut started = Vec::with_capacity(waiting.len());
            for place in &waiting {
                started.push(self.caller.start(commands[*place].clone()).await);
            }
            let until = tokio::time::Instant::now() + self.timeout;
            let mut again: Vec<usize> = Vec::new();
            let mut last = None;
            for (place, started) in std::mem::take(&mut waiting).into_iter().zip(started) {
                let outcome = match started {
                    Ok(started) => match tokio::time::timeout_at(until, started.outcome()).await {
                        Ok(outcome) => outcome,
                        Err(_) => Err(Error::new(Code::DeadlineExceeded, "command was not decided in time")),
                    },
                    Err(error) => Err(error),
                };
                match outcome {
                    Ok(done) => outcomes[place] = Some(done),
                    Err(error) => {
                        // What follows one that was not decided may be refused for that.
                        let follows = again.iter().any(|before| commands[*before].log == commands[place].log);
                        if !may_pass(&error) && !follows {
                            return Err((place, error));
                        }
                        again.push(place);
                        last = Some((place, error));
                    }
                }
            }
            if let Some(failed) = last {
                if tokio::time::Instant::now() >= deadline {
                    return Err(failed);
                }
                metrics::counter!("stonechat_api_data_retries_total").increment(again.len() as u64);
                tokio::time::sleep(RETRY_PAUSE).await;
            }
            waiting = again;
        }
        Ok(outcomes.into_iter().flatten().collect())
    }

    /// Has one command decided that may come twice.
    async fn submit(&self, command: CommandRecord) -> Result<Done, Error> {
        let mut done = self.submit_all(vec![command]).await.map_err(|(_, error)| error)?;
        done.pop().ok_or_else(Error::internal)
    }
}
