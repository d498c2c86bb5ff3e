//! The demo tenant of `run --dev`, with alice and bob.

use std::{
    fs,
    io::Write as _,
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use stonechat_auth::{Keys, sign_user_token};
use stonechat_model::{KeyId, TenantId, UserId, now_us};
use stonechat_rows::Rows;

use super::RunError;

const TENANT: &str = "demo";
const USERS: [&str; 2] = ["alice", "bob"];
const TOKEN_TTL: Duration = Duration::from_secs(7 * 86_400);
const FILE: &str = "dev.json";

/// The demo tenant's credentials, kept beside the data so that they survive a restart.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct Demo {
    /// The tenant.
    pub tenant: TenantId,
    /// The key that signs user tokens.
    pub key_id: KeyId,
    /// Its secret.
    pub key_secret: String,
    /// The server key.
    pub server_key: String,
}

/// What `run --dev --json` prints when ready.
#[derive(Debug, Serialize)]
pub struct Announcement<'a> {
    /// Where REST and WebSocket are.
    pub url: String,
    /// Where gRPC is.
    pub grpc_url: String,
    #[serde(flatten)]
    demo: &'a Demo,
    /// Users with fresh tokens.
    pub users: Vec<DemoUser>,
}

/// A user with a fresh token.
#[derive(Debug, Serialize)]
pub struct DemoUser {
    /// The user.
    pub id: UserId,
    /// A token.
    pub token: String,
}

impl Demo {
    /// The demo tenant of this data folder; made when there is none.
    pub async fn prepare(rows: &Arc<dyn Rows>, data: &Path) -> Result<Self, RunError> {
        let path = data.join(FILE);
        if let Ok(text) = fs::read_to_string(&path) {
            let demo: Self =
                serde_json::from_str(&text).map_err(|e| RunError::Dev(format!("{}: {e}", path.display())))?;
            return Ok(demo);
        }
        let tenant = TenantId::parse(TENANT).map_err(|e| RunError::Dev(e.to_string()))?;
        let keys = Keys::new(Arc::clone(rows));
        keys.create_tenant(&tenant, "Demo", now_us()).await?;
        let signing = keys.create_hs256(&tenant, "demo tokens", now_us()).await?;
        let server = keys.create_server_key(&tenant, "demo server", now_us()).await?;
        let demo = Self { tenant, key_id: signing.id, key_secret: signing.secret, server_key: server.secret };
        demo.save(&path).map_err(|e| RunError::Dev(format!("write {}: {e}", path.display())))?;
        Ok(demo)
    }

    /// Written beside its place first: a crash leaves no half of it.
    fn save(&self, path: &Path) -> std::io::Result<()> {
        let beside: PathBuf = path.with_extension("json.new");
        let mut file = fs::OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&beside)?;
        file.write_all(serde_json::to_string_pretty(self)?.as_bytes())?;
        file.sync_all()?;
        fs::rename(&beside, path)
    }

    /// What to tell whoever started the process.
    pub fn announce(&self, url: &str) -> Result<Announcement<'_>, RunError> {
        let mut users = Vec::new();
        for name in USERS {
            let id = UserId::parse(name).map_err(|e| RunError::Dev(e.to_string()))?;
            let token = sign_user_token(&self.key_id, self.key_secret.as_bytes(), &id, None, now_us(), TOKEN_TTL)?;
            users.push(DemoUser { id, token });
        }
        Ok(Announcement { url: url.to_owned(), grpc_url: url.to_owned(), demo: self, users })
    }
}

impl Announcement<'_> {
    /// For people: how to go on.
    pub fn for_people(&self) -> String {
        let mut text = format!("\nStonechat is ready on {}\n\nTwo people chat, each in a terminal:\n", self.url);
        for (user, other) in self.users.iter().zip(self.users.iter().rev()) {
            text.push_str(&format!("\n  stonechat chat --url {} --to {} --token {}\n", self.url, other.id, user.token));
        }
        text.push_str(&format!("\nFor your server: Authorization: Bearer {}\n", self.demo.server_key));
        text
    }
}
