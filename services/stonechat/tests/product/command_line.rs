//! The tenants' platform on the command line, against the real server.

use std::{
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    process::{Output, Stdio},
    sync::Arc,
};

use serde_json::Value;
use tempfile::TempDir;
use tokio::{
    io::{AsyncWriteExt as _, copy_bidirectional},
    net::{TcpListener, TcpStream},
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ServerConfig, pki_types::PrivateKeyDer},
};

use crate::support::{
    server::{OPERATOR_KEY, Server, binary},
    within,
};

/// Somebody at a terminal, with a home of their own.
struct Person {
    home: TempDir,
    /// A file with certificates that are trusted instead of the machine's.
    authority: Option<PathBuf>,
}

impl Person {
    fn new() -> Self {
        Self { home: tempfile::tempdir().expect("a temporary folder"), authority: None }
    }

    async fn run_with(&self, input: &str, arguments: &[&str]) -> Output {
        let mut command = binary();
        command.args(arguments).env("STONECHAT_HOME", self.home.path());
        for variable in ["STONECHAT_URL", "STONECHAT_KEY", "STONECHAT_CONTEXT"] {
            command.env_remove(variable);
        }
        command.envs(self.authority.iter().map(|file| ("SSL_CERT_FILE", file)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().expect("run the binary");
        let mut stdin = child.stdin.take().expect("piped");
        stdin.write_all(input.as_bytes()).await.expect("input is read");
        drop(stdin);
        within("end of the command", child.wait_with_output()).await.expect("its output")
    }

    /// Runs what must be done; gives what it printed.
    async fn run(&self, arguments: &[&str]) -> String {
        let output = self.run_with("", arguments).await;
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{arguments:?}: {said}");
        String::from_utf8(output.stdout).expect("text")
    }

    async fn json(&self, arguments: &[&str]) -> Value {
        let text = self.run(&[arguments, &["--json"]].concat()).await;
        serde_json::from_str(&text).unwrap_or_else(|e| panic!("{e} in {text}"))
    }

    /// Runs what must not be done; gives the exit code and what it said.
    async fn refused(&self, arguments: &[&str]) -> (i32, String) {
        let output = self.run_with("", arguments).await;
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code().expect("an exit code"), said)
    }
}

async fn with_context(server: &Server, name: &str, key: &str) -> Person {
    let person = Person::new();
    let set = ["context", "set", name, "--url", &server.started.url, "--key", "-"];
    let output = person.run_with(&format!("{key}\n"), &set).await;
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    person
}

#[tokio::test]
async fn an_operator_and_a_tenant_do_their_work_with_contexts() {
    let server = Server::start().await;
    let operator = with_context(&server, "ops", OPERATOR_KEY).await;
    let file = operator.home.path().join("contexts.toml");
    assert_eq!(std::fs::metadata(&file).expect("a file").permissions().mode() & 0o777, 0o600);
    assert!(!operator.run(&["context", "list"]).await.contains(OPERATOR_KEY), "a list shows no keys");

    operator.run(&["tenant", "create", "--id", "acme", "--name", "Acme"]).await;
    let shown = operator.run(&["tenant", "list"]).await;
    assert!(shown.lines().any(|line| line.starts_with("acme")), "{shown}");
    let key = operator.json(&["key", "create", "acme", "--kind", "server", "--name", "backend"]).await;
    let secret = key["secret"].as_str().expect("a secret").to_owned();

    let tenant = with_context(&server, "acme", &secret).await;
    for user in ["u1", "u2", "u3"] {
        tenant.run(&["user", "upsert", user, "--name", &format!("User {user}")]).await;
    }
    let everyone = tenant.json(&["user", "list", "--page-size", "2", "--all"]).await;
    let mut names: Vec<&str> =
        everyone["users"].as_array().expect("users").iter().filter_map(|it| it["id"].as_str()).collect();
    names.sort_unstable();
    assert_eq!(names, ["u1", "u2", "u3"], "of every page");
    tenant.run(&["conversation", "create", "--id", "team", "--kind", "group", "--members", "u1,u2"]).await;
    let sent = tenant.json(&["message", "send", "team", "--sender", "u1", "--text", "hi there"]).await;
    let listed = tenant.json(&["message", "list", "team", "--after", "0"]).await;
    let messages = listed["messages"].as_array().expect("messages");
    assert!(messages.iter().any(|it| it["seq"] == sent["seq"] && it["text"] == "hi there"), "{listed}");
}

#[tokio::test]
async fn exit_codes_tell_apart_what_went_wrong() {
    let server = Server::start().await;
    let tenant = with_context(&server, "demo", &server.started.server_key).await;
    let (code, said) = tenant.refused(&["user", "get", "nobody"]).await;
    assert_eq!(code, 4, "{said}");
    assert!(said.contains("not_found"), "{said}");
    let (code, said) = tenant.refused(&["user", "get", "nobody", "--url", "http://127.0.0.1:1"]).await;
    assert_eq!(code, 3, "{said}");
    let (code, said) = tenant.refused(&["user", "get", "nobody", "--context", "elsewhere"]).await;
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("demo"), "it names those that there are: {said}");
    let (code, _) = tenant.refused(&["user", "get"]).await;
    assert_eq!(code, 2);
}

#[tokio::test]
async fn a_shell_is_told_every_command() {
    let person = Person::new();
    let script = person.run(&["completions", "bash"]).await;
    for command in ["tenant", "conversation", "context", "run"] {
        assert!(script.contains(command), "no {command}");
    }
}

/// Ends TLS before a server, as a proxy does; gives its URL and the file with its certificate.
async fn behind_tls(server: &Server, folder: &Path) -> (String, PathBuf) {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).expect("a certificate");
    let file = folder.join("authority.pem");
    std::fs::write(&file, made.cert.pem()).expect("written");
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).expect("a key");
    let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()));
    let config = config.with_safe_default_protocol_versions().expect("versions").with_no_client_auth();
    let mut config = config.with_single_cert(vec![made.cert.der().clone()], key).expect("an identity");
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    let (acceptor, to) = (TlsAcceptor::from(Arc::new(config)), server.address);
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("a port");
    let port = listener.local_addr().expect("an address").port();
    tokio::spawn(async move {
        while let Ok((from, _)) = listener.accept().await {
            let acceptor = acceptor.clone();
            tokio::spawn(async move {
                let Ok(mut from) = acceptor.accept(from).await else { return };
                let mut to = TcpStream::connect(to).await.expect("the server");
                // Either side may end it in its own way.
                let _ = copy_bidirectional(&mut from, &mut to).await;
            });
        }
    });
    (format!("https://localhost:{port}"), file)
}

#[tokio::test]
async fn a_message_is_sent_over_tls() {
    let server = Server::start().await;
    let mut person = Person::new();
    let (url, authority) = behind_tls(&server, person.home.path()).await;
    let token = server.token("alice").to_owned();
    let send = ["send", "--url", &url, "--token", &token, "--to", "bob", "--json", "hi"];
    let (code, said) = person.refused(&send).await;
    assert_eq!(code, 3, "{said}");
    person.authority = Some(authority);
    assert!(person.run(&send).await.contains("\"seq\""));
    let shown = person.run(&["history", "--url", &url, "--token", &token, "--to", "bob"]).await;
    assert!(shown.contains("hi"), "{shown}");
}

#[tokio::test]
async fn a_history_goes_in_and_out_by_a_context_over_tls() {
    let server = Server::start().await;
    let mut person = Person::new();
    let (url, authority) = behind_tls(&server, person.home.path()).await;
    let set = ["context", "set", "secure", "--url", &url, "--key", &server.started.server_key];
    person.run(&set).await;
    let path = |name: &str| person.home.path().join(name).to_string_lossy().into_owned();
    let (history, out) = (path("history.ndjson"), path("out.ndjson"));
    let created = r#"{"entry":{"conversation":"old","event":{"type":"created","time":"2020-01-01T00:00:00Z","kind":"group","members":[{"user":"ann","role":"owner"}]}}}"#;
    let said = r#"{"entry":{"conversation":"old","event":{"type":"message","sender":"ann","time":"2020-01-01T00:00:01Z","text":"by tls"}}}"#;
    std::fs::write(&history, format!("{created}\n{said}\n")).expect("written");
    let (code, said) = person.refused(&["import", &history]).await;
    assert_eq!(code, 3, "a certificate that nobody knows is none: {said}");

    person.authority = Some(authority);
    assert!(person.run(&["import", &history]).await.contains("2 entries"));
    person.run(&["export", "-o", &out]).await;
    assert!(std::fs::read_to_string(&out).expect("an export").contains("by tls"));
    person.run(&["user", "list"]).await;
    let (code, said) = person.refused(&["export", "--context", "elsewhere"]).await;
    assert_eq!(code, 2, "{said}");
    let (code, said) = person.refused(&["export", "--url", "ftp://localhost"]).await;
    assert_eq!(code, 2, "{said}");
    let (code, said) = person.refused(&["export", "--url", &server.started.url]).await;
    assert_eq!(code, 4, "a context's key is for its own server: {said}");
}
