//! Master keys of files are changed by the real binary.

use std::process::Output;

use serde_json::Value;

use super::files::{fetch, upload};
use crate::support::{
    http::Rest,
    server::{Server, binary},
    within,
};

const NEW: &str = "f0112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

async fn rewrap(server: &Server) -> Output {
    let mut command = binary();
    command.args(["admin", "rewrap", "--json"]).env("STONECHAT_SERVER__DATA", server.data());
    within("end of the command", command.output()).await.expect("its output")
}

async fn rewrapped(server: &Server) -> u64 {
    let output = rewrap(server).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let done: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(done["tenants"], 1, "{done}");
    done["keys"].as_u64().expect("a number")
}

#[tokio::test]
async fn a_new_master_key_takes_the_place_of_the_old_one() {
    let mut server = Server::start().await;
    let file = upload(&Rest::new(&server, server.token("alice")), "a.txt", "hello").await;
    let path = file["url"].as_str().expect("a path").to_owned();
    let keys = server.data().join("master.keys");
    let old = std::fs::read_to_string(&keys).expect("master keys");
    assert!(!rewrap(&server).await.status.success(), "rows that a process has open");
    server.kill().await;
    assert_eq!(rewrapped(&server).await, 0);

    std::fs::write(&keys, NEW).expect("write keys");
    let lacks_old = rewrap(&server).await;
    assert!(!lacks_old.status.success(), "nothing unwraps what the old one wrapped");
    assert!(String::from_utf8_lossy(&lacks_old.stderr).contains("is missing"), "{lacks_old:?}");

    std::fs::write(&keys, format!("{NEW}\n{old}")).expect("write keys");
    assert_eq!(rewrapped(&server).await, 1);
    assert_eq!(rewrapped(&server).await, 0);

    std::fs::write(&keys, NEW).expect("write keys");
    server.start_again().await;
    let alice = Rest::new(&server, server.token("alice"));
    let (status, _, bytes) = fetch(&alice, &path, &[]).await;
    assert_eq!((status, bytes.as_ref()), (200, &b"hello"[..]));
    upload(&alice, "b.txt", "more").await;
}
