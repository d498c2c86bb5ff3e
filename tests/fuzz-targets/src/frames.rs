//! Frames of the client protocol.

use prost::Message as _;
use stonechat_proto::v1::{ClientFrame, ServerFrame};

/// Whatever protobuf decodes must survive its own encoding.
pub fn protobuf(data: &[u8]) {
    if let Ok(frame) = ClientFrame::decode(data) {
        let again = ClientFrame::decode(frame.encode_to_vec().as_slice());
        assert_eq!(again.as_ref(), Ok(&frame));
        in_json(&frame);
    }
    if let Ok(frame) = ServerFrame::decode(data) {
        assert_eq!(ServerFrame::decode(frame.encode_to_vec().as_slice()), Ok(frame));
    }
}

/// Whatever JSON decodes must be encodable, and mean the same kind of frame again.
pub fn json(data: &[u8]) {
    if let Ok(frame) = serde_json::from_slice::<ClientFrame>(data) {
        in_json(&frame);
        assert_eq!(ClientFrame::decode(frame.encode_to_vec().as_slice()), Ok(frame));
    }
    let _ = serde_json::from_slice::<ServerFrame>(data);
}

/// A frame that can be written as JSON must be readable; not every protobuf frame can (a document that is none).
fn in_json(frame: &ClientFrame) {
    let Ok(text) = serde_json::to_vec(frame) else { return };
    if frame.kind.is_none() {
        return;
    }
    let again: Result<ClientFrame, _> = serde_json::from_slice(&text);
    let same = again.as_ref().is_ok_and(|again| same_kind(again, frame));
    assert!(same, "{again:?} from {}", String::from_utf8_lossy(&text));
}

fn same_kind(a: &ClientFrame, b: &ClientFrame) -> bool {
    match (&a.kind, &b.kind) {
        (Some(a), Some(b)) => std::mem::discriminant(a) == std::mem::discriminant(b),
        (a, b) => a.is_none() && b.is_none(),
    }
}
