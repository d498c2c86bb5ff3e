//! Has decided what follows from events, however often it takes.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use futures::{StreamExt as _, stream};
use stonechat_errors::Code;
use stonechat_proto::internal::v1::{CommandRecord, UserAction, command_record, user_action};
use stonechat_rpc::CommandCaller;

use super::Sleep;

/// Commands that wait for their outcome at once.
const AT_ONCE: usize = 256;
/// How long an outcome may take before the command is sent again.
const OUTCOME_TIMEOUT: Duration = Duration::from_secs(5);
/// The pause before a command is sent again.
const RETRY_PAUSE: Duration = Duration::from_millis(100);

/// Has every command decided; those that tell one user log of one conversation in their order, for a "left" that is
/// late must not undo a "joined". Those of one user log go next to each other: its owner has several at once, and
/// writes and tells them together.
pub(super) async fn apply_all(caller: &CommandCaller, sleep: &Arc<Sleep>, commands: Vec<CommandRecord>) {
    let mut ordered: BTreeMap<(String, String, String), Vec<CommandRecord>> = BTreeMap::new();
    for command in commands {
        let conversation = conversation_of(&command).to_owned();
        ordered.entry((command.tenant.clone(), command.log.clone(), conversation)).or_default().push(command);
    }
    let applied = stream::iter(ordered.into_values()).map(|commands| async {
        for command in commands {
            apply(caller, sleep, command).await;
        }
    });
    applied.buffer_unordered(AT_ONCE).collect::<()>().await;
}

/// The conversation that a command tells a user log of.
fn conversation_of(command: &CommandRecord) -> &str {
    match &command.body {
        Some(command_record::Body::UserAction(UserAction { kind: Some(user_action::Kind::ApplyMembership(it)) })) => {
            &it.conversation
        }
        _ => "",
    }
}

async fn apply(caller: &CommandCaller, sleep: &Arc<Sleep>, command: CommandRecord) {
    loop {
        let call = caller.call_until(command.clone(), sleep(OUTCOME_TIMEOUT));
        match call.await {
            Ok(_) => return,
            Err(error) if error.is_retryable() || error.code == Code::Internal => {
                metrics::counter!("stonechat_router_fanout_retries_total").increment(1);
                sleep(RETRY_PAUSE).await;
            }
            Err(error) => {
                tracing::error!(%error, log.id = command.log, "user log refused what follows from an event");
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use async_trait::async_trait;
    use parking_lot::Mutex;
    use stonechat_errors::Error;
    use stonechat_model::{GatewayId, LogId, UserId};
    use stonechat_proto::internal::v1::{ApplyMembership, Origin};
    use stonechat_rpc::{Control, Done, Inbox as _, Outcome, RouterLink, TypingRequest};

    use super::*;

    /// The user log, the conversation and the seq of a command.
    type Seen = (String, String, u64);

    /// Keeps the commands until some are there, then hands them out to be answered.
    struct Keeping {
        kept: Mutex<Vec<(Origin, Seen)>>,
        came: tokio::sync::Notify,
    }

    #[async_trait]
    impl RouterLink for Keeping {
        async fn submit(&self, command: CommandRecord) -> Result<(), Error> {
            let seq = match &command.body {
                Some(command_record::Body::UserAction(UserAction {
                    kind: Some(user_action::Kind::ApplyMembership(it)),
                })) => it.at_seq,
                _ => 0,
            };
            let seen = (command.log.clone(), conversation_of(&command).to_owned(), seq);
            self.kept.lock().push((command.origin.unwrap(), seen));
            self.came.notify_one();
            Ok(())
        }

        async fn typing(&self, _: TypingRequest) {}

        async fn control(&self, _: Control) {}
    }

    impl Keeping {
        /// The commands, once so many came.
        async fn take(&self, count: usize) -> Vec<(Origin, Seen)> {
            while self.kept.lock().len() < count {
                self.came.notified().await;
            }
            std::mem::take(&mut self.kept.lock())
        }
    }

    fn membership(user: &str, conversation: &str, at_seq: u64) -> CommandRecord {
        let apply = ApplyMembership { conversation: conversation.to_owned(), at_seq, ..ApplyMembership::default() };
        let kind = Some(user_action::Kind::ApplyMembership(apply));
        CommandRecord {
            tenant: "t".to_owned(),
            log: user.to_owned(),
            body: Some(command_record::Body::UserAction(UserAction { kind })),
            ..CommandRecord::default()
        }
    }

    fn seen(user: &str, conversation: &str, at_seq: u64) -> Seen {
        (user.to_owned(), conversation.to_owned(), at_seq)
    }

    #[tokio::test]
    async fn a_user_log_gets_conversations_together_and_each_in_its_order() {
        let link = Arc::new(Keeping { kept: Mutex::default(), came: tokio::sync::Notify::new() });
        let node = GatewayId::parse("router-1").unwrap();
        let caller = CommandCaller::new(node, Arc::clone(&link) as Arc<dyn RouterLink>, |_| {});
        let sleep: Arc<Sleep> = Arc::new(|time| {
            let is_pause = time == RETRY_PAUSE;
            Box::pin(async move {
                if !is_pause {
                    std::future::pending::<()>().await;
                }
            })
        });
        let commands = vec![
            membership("u/b", "one", 1),
            membership("u/a", "one", 1),
            membership("u/b", "two", 7),
            membership("u/a", "two", 7),
            membership("u/a", "one", 2),
        ];
        let answering = async {
            let answer = |origin: Origin, result| caller.outcome(Outcome { origin, result });
            let done = || Ok(Done { seq: 1, time_us: 1, log: LogId::User(UserId::parse("a").unwrap()) });
            let first = link.take(4).await;
            let order: Vec<Seen> = first.iter().map(|(_, seen)| seen.clone()).collect();
            assert_eq!(
                order,
                [seen("u/a", "one", 1), seen("u/a", "two", 7), seen("u/b", "one", 1), seen("u/b", "two", 7)]
            );
            for (origin, command) in first {
                let is_failed = command == seen("u/a", "one", 1);
                answer(origin, if is_failed { Err(Error::unavailable("once")) } else { done() });
            }
            // What failed comes again before what is behind it.
            for expected in [seen("u/a", "one", 1), seen("u/a", "one", 2)] {
                let again = link.take(1).await;
                assert_eq!(again.iter().map(|(_, seen)| seen.clone()).collect::<Vec<_>>(), [expected]);
                again.into_iter().for_each(|(origin, _)| answer(origin, done()));
            }
        };
        tokio::join!(apply_all(&caller, &sleep, commands), answering);
    }
}
