//! The suites that every command log and event stream pass.

use std::sync::Arc;

use stonechat_log::{
    EventStream,
    conformance::{CommandLogUnderTest, EventStreamUnderTest},
};
use tokio::sync::Mutex;

use super::world::World;

async fn commands() -> CommandLogUnderTest {
    let world = World::new().await;
    CommandLogUnderTest { log: world.commands().await, bounds: None, guard: Box::new(world) }
}

async fn events() -> EventStreamUnderTest {
    let world = Arc::new(World::new().await);
    let stream: Arc<dyn EventStream> = world.events().await;
    let (rows, partitions) = (Arc::clone(&world.rows), world.config.partitions);
    let newest = Arc::new(Mutex::new(Arc::clone(&stream)));
    let of_reopen = Arc::clone(&world);
    let reopen = move || {
        let (world, newest) = (Arc::clone(&of_reopen), Arc::clone(&newest));
        Box::pin(async move {
            let mut newest = newest.lock().await;
            // The process before has ended.
            newest.leave().await;
            *newest = world.events().await;
            Arc::clone(&*newest)
        }) as _
    };
    EventStreamUnderTest { stream, rows, partitions, reopen: Box::new(reopen), guard: Box::new(world) }
}

mod command_log {
    stonechat_log::command_log_conformance!(super::commands);
}

mod event_stream {
    stonechat_log::event_stream_conformance!(super::events);
}
