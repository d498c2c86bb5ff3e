//! The service's side of calls.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use bytes::Bytes;
use futures::Stream;
use stonechat_errors::Error;
use stonechat_model::limits;
use stonechat_proto::internal::v1::{Call, CallFrame, Reply, ReplyFrame};
use tokio::sync::Semaphore;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tonic::{Status, Streaming};

use super::gather::{Bounds, Gather};

/// Bytes of a reply beside its body, about.
const REPLY_BYTES: usize = 24;
/// How long a caller waits whom this process has no time for.
const SHED_RETRY_AFTER: Duration = Duration::from_millis(100);

/// Does what calls ask for.
#[async_trait]
pub(super) trait Handler: Send + Sync + 'static {
    /// Does it and gives the reply's body.
    async fn handle(&self, request: Bytes) -> Result<Bytes, Error>;
}

/// Serves the streams of one service.
#[derive(Clone)]
pub(super) struct Serving {
    handler: Arc<dyn Handler>,
    /// What is worked on at once, over all streams.
    permits: Arc<Semaphore>,
    drain: CancellationToken,
    role: &'static str,
}

enum Item {
    Reply(Reply),
    Draining,
}

impl Serving {
    pub fn new(role: &'static str, handler: Arc<dyn Handler>, drain: CancellationToken) -> Self {
        Self { handler, permits: Arc::new(Semaphore::new(limits::CALLS_SERVED)), drain, role }
    }

    /// Serves a stream. It ends when the caller ends it and every call is answered.
    pub fn serve(
        &self,
        incoming: Streaming<CallFrame>,
    ) -> impl Stream<Item = Result<ReplyFrame, Status>> + Send + 'static {
        let out = Arc::new(Gather::new(Bounds { items: limits::CALLS_SERVED * 2, bytes: limits::CALLS_QUEUE_BYTES }));
        tokio::spawn(self.clone().work(incoming, Arc::clone(&out)));
        futures::stream::unfold(Replies(out), |replies| async {
            let items = replies.0.take(limits::PEER_GATHER_BYTES).await?;
            let mut frame = ReplyFrame::default();
            for item in items {
                match item {
                    Item::Reply(reply) => frame.replies.push(reply),
                    Item::Draining => frame.draining = true,
                }
            }
            Some((Ok(frame), replies))
        })
    }

    async fn work(self, mut incoming: Streaming<CallFrame>, out: Arc<Gather<Item>>) {
        let tasks = TaskTracker::new();
        let mut told = false;
        loop {
            tokio::select! {
                biased;
                () = self.drain.cancelled(), if !told => {
                    told = true;
                    let _ = out.push(Item::Draining, REPLY_BYTES);
                }
                frame = incoming.message() => match frame {
                    Ok(Some(frame)) => frame.calls.into_iter().for_each(|call| self.begin(call, &out, &tasks)),
                    Ok(None) => break,
                    Err(status) => {
                        tracing::debug!(%status, "caller was lost");
                        break;
                    }
                }
            }
        }
        tasks.close();
        tasks.wait().await;
        out.close();
    }

    fn begin(&self, call: Call, out: &Arc<Gather<Item>>, tasks: &TaskTracker) {
        let Ok(permit) = Arc::clone(&self.permits).try_acquire_owned() else {
            metrics::counter!("stonechat_rpc_calls_shed_total", "role" => self.role).increment(1);
            let busy = Error::unavailable(format!("{} has too much to do", self.role)).retry_after(SHED_RETRY_AFTER);
            return refuse(out, call.id, &busy);
        };
        let (handler, out) = (Arc::clone(&self.handler), Arc::clone(out));
        tasks.spawn(async move {
            let timeout = Duration::from_millis(call.timeout_ms.into());
            // Late replies are not needed: the caller has given up.
            if let Ok(result) = tokio::time::timeout(timeout, handler.handle(call.body)).await {
                reply(&out, call.id, result);
            }
            drop(permit);
        });
    }
}

fn reply(out: &Gather<Item>, id: u64, result: Result<Bytes, Error>) {
    let (body, error) = match result {
        Ok(body) => (body, None),
        Err(error) => (Bytes::new(), Some(error.to_frame(0))),
    };
    push(out, Reply { id, body, error, shed: false });
}

/// Says that a call was not begun.
fn refuse(out: &Gather<Item>, id: u64, why: &Error) {
    push(out, Reply { id, body: Bytes::new(), error: Some(why.to_frame(0)), shed: true });
}

fn push(out: &Gather<Item>, reply: Reply) {
    let size = reply.body.len() + REPLY_BYTES;
    if out.push(Item::Reply(reply), size).is_err() {
        // The caller reads nothing: it must call anew, or it would wait for this reply in vain.
        out.drain();
    }
}

/// What is sent to a caller; when the caller is gone nothing more is gathered.
struct Replies(Arc<Gather<Item>>);

impl Drop for Replies {
    fn drop(&mut self) {
        self.0.drain();
    }
}
