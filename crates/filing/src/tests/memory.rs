//! What requests have in memory together.

use std::time::Duration;

use futures::StreamExt as _;
use stonechat_blobs::Plain;
use stonechat_model::limits;

use super::*;

const SEGMENTS: usize = limits::UPLOAD_MEMORY_BYTES / Plain::SEGMENT_BYTES;

/// A body that brings some bytes and then nothing more, without an end.
fn stalling(bytes: Vec<u8>) -> impl futures::Stream<Item = Result<Bytes, std::io::Error>> + Send {
    futures::stream::iter([Ok(bytes.into())]).chain(futures::stream::pending())
}

#[tokio::test]
async fn memory_is_had_for_what_is_not_written_and_given_back_when_the_request_ends() {
    let world = World::new().await;
    let memory = Arc::clone(&world.files.memory);
    let upload = world.begin(2 * MIB, false).await;
    let (files, bytes) = (Arc::clone(&world.files), content(MIB, 1));
    let taking = tokio::spawn(async move { files.append(upload, stalling(bytes), None).await.is_ok() });
    while memory.available_permits() == SEGMENTS {
        tokio::task::yield_now().await;
    }
    // Its connection is gone.
    taking.abort();
    assert!(taking.await.unwrap_err().is_cancelled());
    assert_eq!(memory.available_permits(), SEGMENTS);
    world.upload(&content(9 * MIB, 2)).await;
    assert_eq!(memory.available_permits(), SEGMENTS, "what is written is not in memory");
}

#[tokio::test]
async fn where_others_have_all_the_memory_an_upload_goes_on_in_smaller_pieces() {
    let world = World::new().await;
    let content = content(MIB, 3);
    let all = u32::try_from(SEGMENTS).unwrap();
    let held = Arc::clone(&world.files.memory).acquire_many_owned(all).await.unwrap();
    let upload = world.begin(content.len() + 1, false).await;
    let taking = tokio::time::timeout(Duration::from_secs(60), append(&world.files, upload, &content));
    let upload = taking.await.expect("it waits for nobody").unwrap();
    let lengths: Vec<u64> = upload.row.pieces.iter().map(|piece| piece.size_bytes).collect();
    assert_eq!(lengths, [Plain::SEGMENT_BYTES as u64; MIB / Plain::SEGMENT_BYTES]);
    drop(held);
    let upload = append(&world.files, upload, b"!").await.unwrap();
    assert_eq!(upload.row.pieces.len(), 1, "joined at the end");
    assert!(world.files.finish(&world.tenant, &upload.id).await.unwrap());
    assert!(world.fetch(&upload.id).await.unwrap() == [content.as_slice(), b"!"].concat());
}
