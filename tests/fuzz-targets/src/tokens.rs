//! User tokens and server keys.

use std::{
    sync::{Arc, LazyLock},
    time::Duration,
};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD};
use futures::executor::block_on;
use stonechat_auth::{Keys, NewKey, Verifier, sign_user_token};
use stonechat_model::{DeviceId, TenantId, TimeUs, UserId};
use stonechat_rows::Rows;

use crate::few_rows::FewRows;

const NOW_US: TimeUs = 1_800_000_000_000_000;
const HOUR: Duration = Duration::from_secs(3600);

struct World {
    rows: Arc<FewRows>,
    verifier: Verifier,
    device: DeviceId,
    key: NewKey,
    server: NewKey,
    token: String,
}

fn world() -> Result<World, Box<dyn std::error::Error>> {
    let rows = FewRows::new();
    let seam: Arc<dyn Rows> = Arc::clone(&rows) as Arc<dyn Rows>;
    let (tenant, user, device) = (TenantId::parse("acme")?, UserId::parse("alice")?, DeviceId::parse("phone")?);
    let keys = Keys::new(Arc::clone(&seam));
    block_on(keys.create_tenant(&tenant, "Acme", NOW_US))?;
    let key = block_on(keys.create_hs256(&tenant, "tokens", NOW_US))?;
    let server = block_on(keys.create_server_key(&tenant, "server", NOW_US))?;
    let token = sign_user_token(&key.id, key.secret.as_bytes(), &user, Some(&device), NOW_US, HOUR)?;
    Ok(World { rows, verifier: Verifier::new(seam), device, key, server, token })
}

static WORLD: LazyLock<World> = LazyLock::new(|| world().unwrap_or_else(|error| panic!("set up: {error}")));

/// No bytes but a good token's open a session; nothing odd reaches the rows.
pub fn user_token(data: &[u8]) {
    let world = &*WORLD;
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(claims) = block_on(world.verifier.user_token(text, &world.device, NOW_US)) {
        assert!(means_the_same(text, &world.token), "forged: {text}");
        assert_eq!(claims.user.as_str(), "alice");
    }
    if block_on(world.verifier.server_key(text, NOW_US)).is_ok() {
        assert_eq!(text, world.server.secret);
    }
    assert_eq!(world.rows.misshapen(), 0, "a key with NUL was looked for");
}

/// Whether two tokens are of the same bytes: the last character of base64 may have bits that say nothing.
fn means_the_same(a: &str, b: &str) -> bool {
    let decode = |text: &str| text.split('.').map(|part| URL_SAFE_NO_PAD.decode(part).ok()).collect::<Vec<_>>();
    decode(a) == decode(b)
}

/// A good token, its parts put together otherwise, and a server key.
pub fn seeds() -> Vec<Vec<u8>> {
    let world = &*WORLD;
    let parts: Vec<_> = world.token.split('.').collect();
    let claims = format!(
        r#"{{"iss":"{}","sub":"alice","aud":["stonechat"],"iat":1800000000,"exp":9223372036854775807,"nbf":-1}}"#,
        world.key.id
    );
    let headers = [
        r#"{"alg":"none"}"#,
        r#"{"alg":"HS256","kid":"../x","jku":"http://x"}"#,
        r#"{"alg":"EdDSA","crit":["b64"],"b64":false}"#,
    ];
    let mut seeds = vec![world.token.clone().into_bytes(), world.server.secret.clone().into_bytes()];
    for header in headers {
        let (header, claims) = (URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(&claims));
        seeds.push(format!("{header}.{}.{}", parts[1], parts[2]).into_bytes());
        seeds.push(format!("{}.{claims}.{}", parts[0], parts[2]).into_bytes());
        seeds.push(format!("{header}.{claims}.").into_bytes());
    }
    seeds
}
