//! No start with a secret that somebody could guess, and no way to reach a development server from outside.

use std::process::{Output, Stdio};

use crate::support::{server::binary, within};

async fn start(operator_key: Option<&str>, arguments: &[&str]) -> Output {
    let data = tempfile::tempdir().expect("a temporary folder");
    let mut command = binary();
    command.args(["run", "--data"]).arg(data.path()).args(arguments).env_remove("STONECHAT_API__OPERATOR_KEY");
    if let Some(key) = operator_key {
        command.env("STONECHAT_API__OPERATOR_KEY", key);
    }
    let child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("run the binary");
    within("end of a server that must not start", child.wait_with_output()).await.expect("its output")
}

#[tokio::test]
async fn a_server_with_a_secret_that_can_be_guessed_does_not_start() {
    for key in [
        None,
        Some(""),
        Some("short"),
        Some("changemechangemechangemechangeme"),
        Some("0123456789abcdef0123456789abcdef"),
        Some("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"),
    ] {
        let output = start(key, &["--listen", "127.0.0.1:0"]).await;
        assert!(!output.status.success(), "{key:?} was enough to start");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains("operator_key"), "{key:?}: {said}");
        if let Some(key) = key.filter(|key| !key.is_empty()) {
            assert!(!said.contains(key), "the error repeats the secret: {said}");
        }
    }
}

#[tokio::test]
async fn a_development_server_binds_to_nothing_but_this_machine() {
    let output = start(None, &["--dev", "--listen", "0.0.0.0:0"]).await;
    assert!(!output.status.success());
}
