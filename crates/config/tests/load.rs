//! What a file and an environment lead to, and what they are refused for.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use stonechat_config::{Config, ConfigError, LogFormat, Secret, defaults};

const KEY: &str = "f3b1c6a7e2d94850b7a16c3e9d2f8054";

fn variables(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect()
}

fn parse(toml: &str, environment: &[(&str, &str)]) -> Result<Config, ConfigError> {
    Config::parse(toml, variables(environment))
}

fn refusal(toml: &str, environment: &[(&str, &str)]) -> String {
    parse(toml, environment).unwrap_err().to_string()
}

/// Valid but for what `change` does.
fn invalid(change: impl Fn(&mut Config)) -> Vec<String> {
    let mut config = Config::default();
    config.validate().unwrap();
    change(&mut config);
    config.validate().unwrap_err().problems().iter().map(|p| p.key.clone()).collect()
}

#[test]
fn nothing_given_is_the_defaults() {
    assert_eq!(parse("", &[]).unwrap(), Config::default());
}

#[test]
fn the_printed_defaults_are_the_defaults() {
    assert_eq!(parse(&defaults(), &[]).unwrap(), Config::default());
}

#[test]
fn the_environment_stands_above_the_file() {
    let file = "[gateway]\nheartbeat_s = 30\nhello_timeout_s = 7\n";
    let config = parse(file, &[("STONECHAT_GATEWAY__HEARTBEAT_S", "40")]).unwrap();
    assert_eq!((config.gateway.heartbeat_s, config.gateway.hello_timeout_s), (40, 7));
}

#[test]
fn variables_have_the_type_of_their_key() {
    let config = parse(
        "",
        &[
            ("STONECHAT_SERVER__LISTEN", "0.0.0.0:9000"),
            ("STONECHAT_API__OPERATOR_KEY", "12345678901234567890123456789012"),
            ("STONECHAT_GATEWAY__ALLOWED_ORIGINS", "https://a.example, https://b.example"),
            ("STONECHAT_TELEMETRY__LOG_FORMAT", "json"),
            ("STONECHAT_TELEMETRY__METRICS", "false"),
            ("STONECHAT_TELEMETRY__TRACE_RATIO", "1"),
            ("STONECHAT_URL", "not of the configuration"),
        ],
    )
    .unwrap();
    assert_eq!(config.server.listen.port(), 9000);
    assert_eq!(config.api.operator_key.expose(), "12345678901234567890123456789012");
    assert_eq!(config.gateway.allowed_origins, ["https://a.example", "https://b.example"]);
    assert_eq!(config.telemetry.log_format, LogFormat::Json);
    assert!(!config.telemetry.metrics);
    assert!((config.telemetry.trace_ratio - 1.0).abs() < f64::EPSILON);
}

#[test]
fn an_unknown_key_is_named() {
    assert!(refusal("[gateway]\nheartbeet_s = 30\n", &[]).contains("gateway.heartbeet_s: unknown key"));
    assert!(refusal("[gatway]\n", &[]).contains("gatway: unknown key"));
    assert!(refusal("", &[("STONECHAT_GATEWAY__HEARTBEET_S", "3")]).contains("STONECHAT_GATEWAY__HEARTBEET_S: "));
}

#[test]
fn a_value_of_the_wrong_type_is_named() {
    assert!(refusal("[gateway]\nheartbeat_s = \"long\"\n", &[]).contains("gateway.heartbeat_s: "));
    assert!(refusal("[gateway]\nheartbeat_s = -1\n", &[]).contains("gateway.heartbeat_s: "));
    assert!(refusal("", &[("STONECHAT_GATEWAY__HEARTBEAT_S", "long")]).contains("gateway.heartbeat_s: "));
    assert!(refusal("[server]\nlisten = \"here\"\n", &[]).contains("server.listen: "));
    assert!(refusal("not toml", &[]).contains("configuration is not valid"));
}

#[test]
fn a_value_that_is_not_allowed_is_named() {
    assert_eq!(invalid(|c| c.log.partitions = 0), ["log.partitions"]);
    assert_eq!(invalid(|c| c.gateway.heartbeat_s = 1), ["gateway.heartbeat_s"]);
    assert_eq!(invalid(|c| c.gateway.allowed_origins = vec!["chat.example".into()]), ["gateway.allowed_origins"]);
    assert_eq!(invalid(|c| c.gateway.commands_burst = 1), ["gateway.commands_burst"]);
    assert_eq!(invalid(|c| c.telemetry.trace_ratio = 2.0), ["telemetry.trace_ratio"]);
    assert_eq!(invalid(|c| c.telemetry.otlp_endpoint = "collector:4317".into()), ["telemetry.otlp_endpoint"]);
    assert_eq!(invalid(|c| c.server.data = "".into()), ["server.data"]);
}

#[test]
fn every_problem_is_told_at_once() {
    let both = invalid(|c| {
        c.log.partitions = 0;
        c.telemetry.log_filter.clear();
    });
    assert_eq!(both, ["log.partitions", "telemetry.log_filter"]);
}

#[test]
fn an_operator_key_that_is_missing_or_can_be_guessed_is_refused() {
    for bad in ["", "short", "changemechangemechangemechangeme", "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"] {
        let mut config = Config::default();
        config.api.operator_key = Secret::new(bad);
        let refused = config.check_secrets().unwrap_err();
        assert_eq!(refused.problems()[0].key, "api.operator_key", "{bad:?}");
        assert!(bad.is_empty() || !refused.to_string().contains(bad), "the secret was repeated");
    }
    let mut config = Config::default();
    config.api.operator_key = Secret::new(KEY);
    config.check_secrets().unwrap();
}

#[test]
fn a_secret_is_not_shown() {
    let config = parse("", &[("STONECHAT_API__OPERATOR_KEY", KEY)]).unwrap();
    assert!(!format!("{config:?}").contains(KEY));
    assert!(!serde_json::to_string(&config).unwrap().contains(KEY));
}

#[test]
fn a_file_that_is_missing_is_named() {
    let error = Config::load(Some("no-such-file.toml".as_ref())).unwrap_err();
    assert!(error.to_string().contains("no-such-file.toml"));
}
