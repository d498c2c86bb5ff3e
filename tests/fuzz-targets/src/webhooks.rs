//! What tenants and their servers say about webhooks and hooks.

use std::{
    net::{Ipv4Addr, Ipv6Addr},
    sync::LazyLock,
};

use stonechat_model::{TimeUs, limits};
use stonechat_outbound::{Rules, Target};
use stonechat_proto::v1::{Edited, Message, action};
use stonechat_webhooks::{Cursor, SigningKey, hook::Answer, retry_after};

const NOW_US: TimeUs = 1_800_000_000_000_000;

static RULES: LazyLock<Rules> =
    LazyLock::new(|| Rules::new(&[], &[443], false).unwrap_or_else(|error| panic!("set up: {error}")));

/// The first byte says what it is, the rest is it.
pub fn texts(data: &[u8]) {
    let Some((kind, value)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(value);
    match kind % 5 {
        0 => url(&text),
        1 => secret(&text),
        2 => {
            if let Some(wait) = retry_after(&text, NOW_US) {
                assert!(wait.as_secs() <= limits::WEBHOOK_RETRY_AFTER_S, "{wait:?}");
            }
        }
        3 => {
            if let Ok(cursor) = Cursor::parse(&text) {
                assert_eq!(Cursor::parse(&cursor.to_text()).ok().as_ref(), Some(&cursor), "told otherwise: {text}");
            }
        }
        _ => answer(value),
    }
}

/// What is taken goes by TLS to a name, or to an address that is nobody's own.
fn url(text: &str) {
    if Target::parse(text, &RULES).is_err() {
        return;
    }
    let (scheme, rest) = text.split_once("://").unwrap_or_else(|| panic!("no scheme: {text}"));
    assert!(scheme.eq_ignore_ascii_case("https"), "{text}");
    let authority = rest.split(['/', '?']).next().unwrap_or_default();
    assert!(!authority.contains(['@', '\\', '#', ' ']) && !authority.is_empty(), "{text}");
    let host = authority.strip_suffix(":443").unwrap_or(authority);
    if let Some(inner) = host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        let address: Ipv6Addr = inner.parse().unwrap_or_else(|_| panic!("no address: {text}"));
        assert!(!address.is_loopback() && !address.is_unspecified() && !address.is_unique_local(), "{text}");
        assert!(address.to_ipv4_mapped().is_none_or(is_public), "{text}");
    } else if let Ok(address) = host.parse::<Ipv4Addr>() {
        assert!(is_public(address), "{text}");
    } else {
        let last = host.trim_end_matches('.').rsplit('.').next().unwrap_or_default();
        assert!(!last.bytes().all(|byte| byte.is_ascii_digit()), "a number: {text}");
    }
}

fn is_public(address: Ipv4Addr) -> bool {
    !(address.is_loopback() || address.is_private() || address.is_link_local() || address.is_unspecified())
}

/// A secret that is taken is shown as it was given.
fn secret(text: &str) {
    let Ok(key) = SigningKey::parse(text) else { return };
    assert_eq!(key.secret_text(), text);
    assert_eq!(key.public_text().is_some(), key.version() == "v1a");
}

/// What a hook makes of a message is one that may be sent, of the kind that was asked about.
fn answer(body: &[u8]) {
    let message = || Message { text: "hello".to_owned(), ..Message::default() };
    let edit = Edited { target: 3, content: Some(message()) };
    for asked in [action::Kind::Send(message()), action::Kind::Edit(edit)] {
        match Answer::parse(body, &asked) {
            Ok(Answer::Change(kind)) => {
                assert_eq!(std::mem::discriminant(&*kind), std::mem::discriminant(&asked));
                assert!(stonechat_commands::check_action(&kind).is_ok());
            }
            Ok(Answer::Refuse(reason)) => {
                assert!(!reason.is_empty() && reason.len() <= limits::HOOK_REASON_BYTES);
                assert!(!reason.chars().any(char::is_control), "{reason:?}");
            }
            Ok(Answer::Allow) | Err(_) => {}
        }
    }
}

/// Good ones of each, and what once made fools of others.
pub fn seeds() -> Vec<Vec<u8>> {
    [
        "\0https://example.com/hooks?tenant=1",
        "\0https://8.8.8.8:443/",
        "\0https://[2606:4700::1111]/",
        "\0https://[::ffff:127.0.0.1]/",
        "\0https://0x7f.1/",
        "\0https://user@example.com\\@127.0.0.1/",
        "\u{1}whsec_MDEyMzQ1Njc4OWFiY2RlZmdoaWprbG1ub3A=",
        "\u{1}whsk_AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=",
        "\u{2}120",
        "\u{2}Sun, 06 Nov 1994 08:49:37 GMT",
        "\u{2}99999999999999999999",
        "\u{3}CIDAxIqX2t4DEgEAGgEH",
        "\u{4}{\"action\":\"allow\"}",
        "\u{4}{\"action\":\"refuse\",\"reason\":\"not here\\n\"}",
        "\u{4}{\"action\":\"change\",\"message\":{\"text\":\"****\",\"mentions\":[\"bob\"]}}",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect()
}
