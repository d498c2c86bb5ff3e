//! Good input to begin with.

use prost::Message as _;
use stonechat_config::{Config, defaults};
use stonechat_proto::v1::ClientFrame;

/// One of every frame and command, as JSON.
const FRAMES: &[&str] = &[
    r#"{"type":"hello","token":"a.b.c","device":"phone","cursors":[{"conversation":"c","seq":7}],"user_log_seq":3,"agent":"x/1"}"#,
    r#"{"type":"sync","id":1,"cursors":[{"conversation":"c","seq":9223372036854775808}],"user_log_seq":0}"#,
    r#"{"type":"history","id":2,"conversation":"c","around":4,"limit":50}"#,
    r#"{"type":"history","id":2,"conversation":"","after":0,"limit":50}"#,
    r#"{"type":"read","id":3,"conversation":"c","read_seq":4,"delivered_seq":5}"#,
    r#"{"type":"typing","conversation":"c","stopped":true}"#,
    r#"{"type":"subscribe","id":4,"users":["alice"],"unsubscribe":["bob"]}"#,
    r#"{"type":"refresh","id":5,"token":"a.b.c"}"#,
    r#"{"type":"ping","id":6}"#,
    r#"{"type":"set_status","id":7,"availability":"away","text":"at lunch","emoji":"🍜"}"#,
];
const ACTIONS: &[&str] = &[
    r#""send":{"text":"hi 👋","mentions":["bob"],"reply_to":3,"attachments":[{"id":"f","name":"a.png","content_type":"image/png","size_bytes":9}],"custom":{"type":"order","data":{"n":[1,2.5,null]}}}"#,
    r#""edit":{"target":3,"content":{"text":"hello"}}"#,
    r#""recall":{"target":3}"#,
    r#""react":{"target":3,"emoji":"👍"}"#,
    r#""unreact":{"target":3,"emoji":"👍"}"#,
    r#""pin":{"target":3}"#,
    r#""unpin":{"target":3}"#,
    r#""create":{"kind":"group","members":["bob"],"settings":{"name":"talk","who_may_post":"members","who_may_add":"admins","read_receipts":true}}"#,
    r#""create":{"kind":"direct","members":["bob"]}"#,
    r#""add_members":{"users":["carol"],"role":"admin"}"#,
    r#""remove_members":{"users":["carol"]}"#,
    r#""leave":{}"#,
    r#""set_role":{"user":"bob","role":"admin"}"#,
    r#""mute_member":{"user":"bob","until":"2030-01-01T00:00:00Z"}"#,
    r#""update_settings":{"settings":{"announcement":"read this"}}"#,
    r#""transfer":{"to":"bob"}"#,
    r#""dismiss":{}"#,
    r#""upgrade":{}"#,
    r#""hide_message":{"seq":3}"#,
    r#""update_membership":{"conversation":"c","muted":true,"draft":"to be"}"#,
    r#""update_profile":{"name":"Alice","avatar":"https://a.example/a.png"}"#,
];

fn texts() -> Vec<String> {
    let commands = ACTIONS.iter().map(|action| {
        format!(
            r#"{{"type":"command","id":9,"conversation":"c","client_id":"01890a5d-ac96-774b-bcce-b302099a8057","traceparent":"00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",{action}}}"#
        )
    });
    FRAMES.iter().map(|frame| (*frame).to_owned()).chain(commands).collect()
}

/// Frames as JSON.
pub fn json() -> Vec<Vec<u8>> {
    texts().into_iter().map(String::into_bytes).collect()
}

/// Frames as protobuf. A frame that does not parse is left out here and fails the test of the seeds.
pub fn protobuf() -> Vec<Vec<u8>> {
    let frames = texts().into_iter().filter_map(|text| serde_json::from_str::<ClientFrame>(&text).ok());
    frames.map(|frame| frame.encode_to_vec()).collect()
}

/// Configuration files.
pub fn configuration() -> Vec<Vec<u8>> {
    vec![defaults().into_bytes(), b"[gateway]\nheartbeat_s = 30\nallowed_origins = [\"https://a.example\"]\n".to_vec()]
}

/// Environments.
pub fn environment() -> Vec<Vec<u8>> {
    let keys = Config::keys();
    let line =
        |key: &stonechat_config::Key| format!("{}={}\n", key.variable(), key.default.to_string().trim_matches('"'));
    let mut seeds: Vec<_> = keys.iter().map(|key| line(key).into_bytes()).collect();
    seeds.push(keys.iter().map(line).collect::<String>().into_bytes());
    seeds
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_seed_is_a_good_frame() {
        for text in texts() {
            let frame: Result<ClientFrame, _> = serde_json::from_str(&text);
            assert!(frame.as_ref().is_ok_and(|frame| frame.kind.is_some()), "{text}: {frame:?}");
        }
        assert_eq!(protobuf().len(), json().len());
    }
}
