//! Tokens and server keys: what is believed, and every trick that is not.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

mod tenant;

use std::time::Duration;

use base64::{
    Engine as _,
    engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD},
};
use jsonwebtoken::{Algorithm, EncodingKey, Header, encode};
use prost::Message as _;
use serde_json::{Value, json};
use stonechat_auth::{Claims, LEEWAY_S, sign_user_token};
use stonechat_errors::Code;
use stonechat_model::{DeviceId, KeyId, TenantId, UserId, limits};
use stonechat_proto::internal::v1::{DeviceRevocation, UserRow};
use stonechat_rows::{Put, tables};

use tenant::{NOW_S, NOW_US, Tenant};

/// The pair of RFC 8037, appendix A: the private part as PKCS #8 (RFC 8410) around "d", the public part is "x".
const PRIVATE: &str = "nWGxne_9WmC6hEr0kuwsxERJxWl7MmkZcDusAxyuf2A";
const PUBLIC: &str = "11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo";
/// A public key that is none of Ed25519: a point of P-256 (RFC 7515, appendix A.3).
const OTHER_PUBLIC: &str = "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEUx";

/// The private key that signs for [`PUBLIC`].
fn private_key() -> EncodingKey {
    let mut der = vec![0x30, 0x2e, 0x02, 0x01, 0x00, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x04, 0x22, 0x04, 0x20];
    der.extend(URL_SAFE_NO_PAD.decode(PRIVATE).unwrap());
    EncodingKey::from_ed_der(&der)
}

/// The public key as PEM.
fn public_pem() -> String {
    let mut der = vec![0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];
    der.extend(URL_SAFE_NO_PAD.decode(PUBLIC).unwrap());
    format!("-----BEGIN PUBLIC KEY-----\n{}\n-----END PUBLIC KEY-----\n", STANDARD.encode(der))
}

fn claims(key: &KeyId) -> Value {
    json!({"iss": key.as_str(), "sub": "alice", "aud": "stonechat", "iat": NOW_S, "exp": NOW_S + 60})
}

fn with(mut claims: Value, name: &str, value: Value) -> Value {
    claims[name] = value;
    claims
}

fn without(mut claims: Value, name: &str) -> Value {
    claims.as_object_mut().unwrap().remove(name);
    claims
}

fn hs256(claims: &Value, secret: &[u8]) -> String {
    encode(&Header::new(Algorithm::HS256), claims, &EncodingKey::from_secret(secret)).unwrap()
}

/// A token of any header, signed with HS256 whatever the header says.
fn with_header(header: &Value, claims: &Value, secret: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let message = format!("{}.{}", part(header), part(claims));
    let signature =
        jsonwebtoken::crypto::sign(message.as_bytes(), &EncodingKey::from_secret(secret), Algorithm::HS256).unwrap();
    format!("{message}.{signature}")
}

#[tokio::test]
async fn a_token_of_the_tenants_key_names_its_user() {
    let tenant = Tenant::new().await;
    let user = UserId::parse("alice").unwrap();
    let ttl = Duration::from_secs(60);
    let token = sign_user_token(&tenant.key, tenant.secret(), &user, None, NOW_US, ttl).unwrap();
    let claims = tenant.verify(&token).await.unwrap();
    assert_eq!((claims.tenant.as_str(), claims.user.as_str()), ("acme", "alice"));
    assert_eq!((claims.key, claims.device), (tenant.key.clone(), None));
    assert_eq!((claims.issued_us, claims.expires_us), (NOW_US, NOW_US + 60_000_000));
}

#[tokio::test]
async fn an_eddsa_token_is_verified_with_the_registered_public_key() {
    let tenant = Tenant::new().await;
    for public in [public_pem(), PUBLIC.to_owned()] {
        let key = tenant.keys.create_eddsa(&tenant.id, &public, "pair", NOW_US).await.unwrap().id;
        let token = encode(&Header::new(Algorithm::EdDSA), &claims(&key), &private_key()).unwrap();
        assert_eq!(tenant.verify(&token).await.unwrap().user.as_str(), "alice", "{public}");
        let another = tenant.keys.create_eddsa(&tenant.id, &URL_SAFE_NO_PAD.encode([7; 32]), "no pair", NOW_US).await;
        let token = encode(&Header::new(Algorithm::EdDSA), &claims(&another.unwrap().id), &private_key()).unwrap();
        tenant.refuses("signed with another pair", &token).await;
    }
    for text in ["", "x", OTHER_PUBLIC, &PUBLIC[1..]] {
        let error = tenant.keys.create_eddsa(&tenant.id, text, "no key", NOW_US).await.err().unwrap();
        assert_eq!(error.code, Code::InvalidArgument, "{text}");
    }
}

#[tokio::test]
async fn the_header_does_not_choose_the_algorithm() {
    let tenant = Tenant::new().await;
    for alg in ["none", "None", "NONE", "", "HS384", "HS512", "RS256", "ES256", "EdDSA", "hs256"] {
        let header = json!({"alg": alg, "typ": "JWT"});
        tenant.refuses(&format!("alg {alg}"), &with_header(&header, &claims(&tenant.key), tenant.secret())).await;
        let token = with_header(&header, &claims(&tenant.key), tenant.secret());
        let unsigned = format!("{}.", token.rsplit_once('.').unwrap().0);
        tenant.refuses(&format!("alg {alg} without signature"), &unsigned).await;
    }
}

#[tokio::test]
async fn a_public_key_is_no_secret() {
    let tenant = Tenant::new().await;
    let pem = public_pem();
    let key = tenant.keys.create_eddsa(&tenant.id, &pem, "pair", NOW_US).await.unwrap().id;
    let stored = tenant.keys.key(&tenant.id, &key).await.unwrap().material;
    for secret in [pem.as_bytes(), pem.trim().as_bytes(), PUBLIC.as_bytes(), &stored] {
        let what = format!("HS256 with the public key {}", String::from_utf8_lossy(secret));
        tenant.refuses(&what, &hs256(&claims(&key), secret)).await;
    }
}

#[tokio::test]
async fn a_server_key_signs_no_tokens() {
    let tenant = Tenant::new().await;
    let server = tenant.keys.create_server_key(&tenant.id, "server", NOW_US).await.unwrap();
    let hash = tenant.keys.key(&tenant.id, &server.id).await.unwrap().material;
    tenant.refuses("signed with a server key", &hs256(&claims(&server.id), server.secret.as_bytes())).await;
    tenant.refuses("signed with its hash", &hs256(&claims(&server.id), &hash)).await;
}

#[tokio::test]
async fn the_key_is_the_issuers_whatever_the_header_says() {
    let tenant = Tenant::new().await;
    let claims = claims(&tenant.key);
    let other = tenant.beside("other").await;
    for kid in ["../../../../dev/null", "/dev/null", "' or 1=1 --", "", other.key.as_str()] {
        let header = json!({"alg": "HS256", "kid": kid});
        tenant.refuses(&format!("kid {kid}"), &with_header(&header, &claims, tenant.secret())).await;
        tenant.refuses(&format!("kid {kid}, empty secret"), &with_header(&header, &claims, b"")).await;
    }
    let header = json!({"alg": "HS256", "kid": other.key.as_str()});
    tenant.refuses("kid of another tenant's key", &with_header(&header, &claims, other.secret())).await;
    let header = json!({"alg": "HS256", "kid": tenant.key.as_str()});
    assert!(tenant.verify(&with_header(&header, &claims, tenant.secret())).await.is_ok());
}

#[tokio::test]
async fn a_token_does_not_bring_its_own_key() {
    let tenant = Tenant::new().await;
    let jwk = json!({"kty": "oct", "k": URL_SAFE_NO_PAD.encode("mine"), "alg": "HS256"});
    for (name, value) in [
        ("jku", json!("https://evil.example/keys.json")),
        ("x5u", json!("https://evil.example/cert.pem")),
        ("jwk", jwk),
        ("x5c", json!(["MIIB"])),
    ] {
        let mut header = json!({"alg": "HS256"});
        header[name] = value;
        tenant.refuses(name, &with_header(&header, &claims(&tenant.key), b"mine")).await;
        tenant.refuses(name, &with_header(&header, &claims(&tenant.key), tenant.secret())).await;
    }
}

#[tokio::test]
async fn another_tenants_key_opens_only_its_own_tenant() {
    let tenant = Tenant::new().await;
    let other = tenant.beside("other").await;
    tenant.refuses("signed by another tenant", &hs256(&claims(&tenant.key), other.secret())).await;
    let claims = tenant.verify(&hs256(&claims(&other.key), other.secret())).await.unwrap();
    assert_eq!(claims.tenant.as_str(), "other");
}

#[tokio::test]
async fn every_claim_is_checked() {
    let tenant = Tenant::new().await;
    let good = || claims(&tenant.key);
    for (what, claims) in [
        ("no exp", without(good(), "exp")),
        ("no iat", without(good(), "iat")),
        ("no sub", without(good(), "sub")),
        ("no aud", without(good(), "aud")),
        ("no iss", without(good(), "iss")),
        ("expired", with(good(), "exp", json!(NOW_S - LEEWAY_S))),
        ("exp as text", with(good(), "exp", json!("never"))),
        ("exp null", with(good(), "exp", Value::Null)),
        ("of the future", with(good(), "iat", json!(NOW_S + LEEWAY_S + 1))),
        ("not yet valid", with(good(), "nbf", json!(NOW_S + LEEWAY_S + 1))),
        ("for somebody else", with(good(), "aud", json!("stonechat2"))),
        ("for others", with(good(), "aud", json!(["a", "b"]))),
        ("empty sub", with(good(), "sub", json!(""))),
        ("sub that is no id", with(good(), "sub", json!("alice\u{0}admin"))),
        ("sub with a slash", with(good(), "sub", json!("../bob"))),
        ("unknown iss", with(good(), "iss", json!("nobody"))),
        ("iss that is no id", with(good(), "iss", json!("a b"))),
        ("device that is no id", with(good(), "device", json!("a b"))),
    ] {
        tenant.refuses(what, &hs256(&claims, tenant.secret())).await;
    }
    for (what, claims) in [
        ("just expired", with(good(), "exp", json!(NOW_S - LEEWAY_S + 1))),
        ("a little ahead", with(good(), "iat", json!(NOW_S + LEEWAY_S))),
        ("valid from just now", with(good(), "nbf", json!(NOW_S + LEEWAY_S))),
        ("for several", with(good(), "aud", json!(["a", "stonechat"]))),
        ("with claims of its own", with(good(), "role", json!("admin"))),
    ] {
        assert!(tenant.verify(&hs256(&claims, tenant.secret())).await.is_ok(), "{what}");
    }
}

#[tokio::test]
async fn a_token_for_a_device_is_for_no_other() {
    let tenant = Tenant::new().await;
    let user = UserId::parse("alice").unwrap();
    let token = |device: &str| {
        let device = DeviceId::parse(device).unwrap();
        sign_user_token(&tenant.key, tenant.secret(), &user, Some(&device), NOW_US, Duration::from_secs(60)).unwrap()
    };
    assert!(tenant.verify(&token("phone")).await.is_ok());
    tenant.refuses("of another device", &token("tablet")).await;
}

#[tokio::test]
async fn a_disabled_key_is_refused_once_it_is_forgotten_or_stale() {
    let tenant = Tenant::new().await;
    let token = hs256(&claims(&tenant.key), tenant.secret());
    assert!(tenant.verify(&token).await.is_ok());
    tenant.keys.disable(&tenant.id, &tenant.key).await.unwrap();
    tenant.verifier.forget_key(&tenant.key);
    tenant.refuses("disabled key", &token).await;

    let tenant = Tenant::new().await;
    let token = hs256(&claims(&tenant.key), tenant.secret());
    assert!(tenant.verify(&token).await.is_ok());
    tenant.keys.disable(&tenant.id, &tenant.key).await.unwrap();
    let phone = DeviceId::parse("phone").unwrap();
    let later = tenant.verifier.user_token(&token, &phone, NOW_US + 5_000_000).await;
    assert_eq!(later.unwrap_err().code, Code::Unauthenticated);
}

#[tokio::test]
async fn a_suspended_tenant_is_refused() {
    let tenant = Tenant::new().await;
    let server = tenant.keys.create_server_key(&tenant.id, "server", NOW_US).await.unwrap();
    tenant.suspend().await;
    tenant.verifier.forget_tenant(&tenant.id);
    tenant.refuses("of a suspended tenant", &hs256(&claims(&tenant.key), tenant.secret())).await;
    assert!(tenant.verifier.server_key(&server.secret, NOW_US).await.is_err());
}

#[tokio::test]
async fn what_was_revoked_is_refused_at_once() {
    let tenant = Tenant::new().await;
    let token = hs256(&claims(&tenant.key), tenant.secret());
    let user = UserId::parse("alice").unwrap();
    let of_device = |device: &str| DeviceRevocation { device: device.to_owned(), before_us: NOW_US + 1 };
    let write = async |version: u64, row: UserRow| {
        let key = tables::user(&tenant.id, &user);
        let put = Put { key, value: row.encode_to_vec().into(), version, ttl: None };
        tenant.rows.write(vec![put]).await.unwrap();
    };
    write(1, UserRow { revoked_before_us: NOW_US, ..UserRow::default() }).await;
    assert!(tenant.verify(&token).await.is_ok(), "issued at the very time is issued after");
    write(2, UserRow { revoked_before_us: NOW_US + 1, ..UserRow::default() }).await;
    tenant.refuses("revoked", &token).await;
    write(3, UserRow { deactivated: true, ..UserRow::default() }).await;
    tenant.refuses("deactivated", &token).await;
    write(4, UserRow { revoked_devices: vec![of_device("tablet")], ..UserRow::default() }).await;
    assert!(tenant.verify(&token).await.is_ok(), "another device was revoked");
    let before = tenant.verify(&token).await.unwrap();
    write(5, UserRow { revoked_devices: vec![of_device("tablet"), of_device("phone")], ..UserRow::default() }).await;
    tenant.refuses("revoked device", &token).await;
    let (tablet, phone) = (DeviceId::parse("tablet").unwrap(), DeviceId::parse("phone").unwrap());
    for (device, is_valid) in [(DeviceId::parse("watch").unwrap(), true), (tablet, false), (phone, false)] {
        let still = tenant.verifier.still_valid(&before, &device, NOW_US, NOW_US).await;
        assert_eq!(still.is_ok(), is_valid, "what a session on the {device} came by");
    }
}

#[tokio::test]
async fn sessions_that_were_closed_are_told_from_those_that_began_after() {
    let tenant = Tenant::new().await;
    let token = hs256(&claims(&tenant.key), tenant.secret());
    let before = tenant.verify(&token).await.unwrap();
    let (phone, tablet) = (DeviceId::parse("phone").unwrap(), DeviceId::parse("tablet").unwrap());
    let closed_devices = vec![DeviceRevocation { device: "phone".to_owned(), before_us: NOW_US + 10 }];
    let row = UserRow { closed_before_us: NOW_US, closed_devices, ..UserRow::default() };
    let key = tables::user(&tenant.id, &UserId::parse("alice").unwrap());
    let put = Put { key, value: row.encode_to_vec().into(), version: 1, ttl: None };
    tenant.rows.write(vec![put]).await.unwrap();
    for (device, opened_us, is_open) in [
        (&phone, NOW_US + 9, false),
        (&phone, NOW_US + 10, true),
        (&tablet, NOW_US - 1, false),
        (&tablet, NOW_US, true),
    ] {
        let still = tenant.verifier.still_valid(&before, device, opened_us, NOW_US + 20).await;
        let code = still.map(|_| ()).map_err(|error| error.code);
        assert_eq!(code, if is_open { Ok(()) } else { Err(Code::PermissionDenied) }, "{device} of {opened_us}");
    }
    assert!(tenant.verify(&token).await.is_ok(), "the token is as good as before");
}

#[tokio::test]
async fn what_a_session_came_by_is_good_while_its_key_is() {
    let tenant = Tenant::new().await;
    let phone = DeviceId::parse("phone").unwrap();
    let claims = tenant.verify(&hs256(&claims(&tenant.key), tenant.secret())).await.unwrap();
    tenant.verifier.still_valid(&claims, &phone, NOW_US, NOW_US).await.unwrap();
    let of_other = Claims { tenant: TenantId::parse("other").unwrap(), ..claims.clone() };
    assert!(
        tenant.verifier.still_valid(&of_other, &phone, NOW_US, NOW_US).await.is_err(),
        "the key is another tenant's"
    );
    tenant.keys.disable(&tenant.id, &tenant.key).await.unwrap();
    tenant.verifier.forget_key(&tenant.key);
    let error = tenant.verifier.still_valid(&claims, &phone, NOW_US, NOW_US).await.unwrap_err();
    assert_eq!(error.code, Code::Unauthenticated);
}

#[tokio::test]
async fn what_is_not_whole_is_refused() {
    let tenant = Tenant::new().await;
    let token = hs256(&claims(&tenant.key), tenant.secret());
    for end in 0..token.len() {
        tenant.refuses(&format!("cut at {end}"), &token[..end]).await;
    }
    let parts: Vec<&str> = token.split('.').collect();
    for text in [
        format!("{token}.{}", parts[2]),
        format!("{token}A"),
        format!(" {token}"),
        format!("{token}\n"),
        format!("{}.{}", parts[0], parts[1]),
        "..".to_owned(),
        "a.b.c".to_owned(),
        "é.é.é".to_owned(),
        "A".repeat(limits::TOKEN_BYTES + 1),
    ] {
        tenant.refuses(&text, &text).await;
    }
    let long = with(claims(&tenant.key), "pad", json!("a".repeat(limits::TOKEN_BYTES)));
    tenant.refuses("longer than its limit", &hs256(&long, tenant.secret())).await;
}

#[tokio::test]
async fn a_server_key_acts_for_its_tenant_only_while_it_is_good() {
    let tenant = Tenant::new().await;
    let server = tenant.keys.create_server_key(&tenant.id, "server", NOW_US).await.unwrap();
    let caller = tenant.verifier.server_key(&server.secret, NOW_US).await.unwrap();
    assert_eq!((caller.tenant, caller.key), (tenant.id.clone(), server.id.clone()));
    let other = tenant.beside("other").await;
    let others = other.keys.create_server_key(&other.id, "server", NOW_US).await.unwrap();
    let random = others.secret.rsplit_once('_').unwrap().1;
    for text in [
        String::new(),
        "sk_".to_owned(),
        "sk__".to_owned(),
        format!("sk_{}", server.id),
        format!("sk_{}_", server.id),
        format!("sk_{}_{random}", server.id),
        format!("{}x", server.secret),
        server.secret[..server.secret.len() - 1].to_owned(),
        server.secret.to_uppercase(),
        format!("sk_{}_{}", tenant.key, tenant.secret),
        format!("sk_é_{random}"),
    ] {
        let error = tenant.verifier.server_key(&text, NOW_US).await.unwrap_err();
        assert_eq!(error.code, Code::Unauthenticated, "{text}");
    }
    tenant.keys.disable(&tenant.id, &server.id).await.unwrap();
    tenant.verifier.forget_key(&server.id);
    assert!(tenant.verifier.server_key(&server.secret, NOW_US).await.is_err());
}

#[tokio::test]
async fn a_tenant_sees_and_disables_its_own_keys_only() {
    let tenant = Tenant::new().await;
    let other = tenant.beside("other").await;
    let unknown = KeyId::parse("nobody").unwrap();
    for key in [&other.key, &unknown] {
        let error = tenant.keys.disable(&tenant.id, key).await.unwrap_err();
        assert_eq!((error.code, error.reason.as_ref()), (Code::NotFound, "key not found"));
        assert_eq!(tenant.keys.key(&tenant.id, key).await.unwrap_err(), error);
    }
    let listed = tenant.keys.keys(&tenant.id).await.unwrap();
    assert_eq!(listed.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), std::slice::from_ref(&tenant.key));
    assert!(other.verify(&hs256(&claims(&other.key), other.secret())).await.is_ok());
}

#[tokio::test]
async fn no_secret_is_stored_of_a_server_key() {
    let tenant = Tenant::new().await;
    let server = tenant.keys.create_server_key(&tenant.id, "server", NOW_US).await.unwrap();
    let random = server.secret.rsplit_once('_').unwrap().1;
    let row = tenant.keys.key(&tenant.id, &server.id).await.unwrap();
    assert_eq!(row.material.len(), 32);
    assert!(!String::from_utf8_lossy(&row.encode_to_vec()).contains(random));
}

mod any_text {
    use super::*;
    use proptest::prelude::*;

    fn run<T>(work: impl Future<Output = T>) -> T {
        tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(work)
    }

    /// Changes some of a good token's bytes.
    fn mutate(token: &str, changes: &[(usize, u8)]) -> String {
        let mut bytes = token.as_bytes().to_vec();
        for (place, byte) in changes {
            let place = place % bytes.len();
            bytes[place] = *byte;
        }
        String::from_utf8_lossy(&bytes).into_owned()
    }

    #[test]
    fn never_panics_and_is_never_believed() {
        let tenant = run(Tenant::new());
        let token = hs256(&claims(&tenant.key), tenant.secret());
        let payload = token.rsplit_once('.').unwrap().0;
        let config = ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() };
        let text = prop_oneof![
            ".{0,200}",
            "[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}\\.[A-Za-z0-9_-]{0,80}",
            proptest::collection::vec((any::<usize>(), 32_u8..127), 1..4).prop_map(|changes| mutate(&token, &changes)),
        ];
        proptest!(config, |(text in text)| {
            let accepted = run(tenant.verify(&text));
            // Base64's last character may be another one of the same bits, which jsonwebtoken refuses.
            prop_assert!(accepted.is_err() || text == token, "{text}");
            let server = run(tenant.verifier.server_key(&text, NOW_US));
            prop_assert!(server.is_err());
            let server = run(tenant.verifier.server_key(&format!("sk_{text}"), NOW_US));
            prop_assert!(server.is_err());
        });
        assert!(run(tenant.verify(&format!("{payload}.{}", token.rsplit_once('.').unwrap().1))).is_ok());
    }
}
