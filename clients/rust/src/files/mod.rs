//! Files: uploads that go on where they broke off (tus 1.0.0), in parallel parts where they are large, and downloads that
//! go on likewise.

mod download;
mod http;
mod upload;

use std::{path::Path, sync::Arc, time::Duration};

use rand::Rng as _;
use serde::Deserialize;

use self::http::Http;
use crate::{ClientError, Options};

/// Attempts in a row that bring nothing, after which a transfer fails.
const ATTEMPTS: u32 = 12;
/// The pause after the first failure; each further one is twice as long.
const PAUSE: Duration = Duration::from_millis(200);
/// The longest pause.
const PAUSE_MAX: Duration = Duration::from_secs(10);

/// How long a transfer waits for bytes to come or to be taken.
const SILENCE: Duration = Duration::from_secs(60);

/// Hears how far a transfer is: bytes done, and bytes there are.
pub type Progress = Arc<dyn Fn(u64, u64) + Send + Sync>;

/// What a server knows of a file.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct FileInfo {
    /// The file's id.
    pub id: String,
    /// The name shown to people.
    #[serde(default)]
    pub name: String,
    /// The media type by content.
    #[serde(default)]
    pub content_type: String,
    /// Length in bytes.
    #[serde(default)]
    pub size_bytes: u64,
    /// Where it is fetched, a path on the server.
    #[serde(default)]
    pub url: String,
}

/// Uploads and downloads of one user.
pub struct Files {
    http: Http,
}

impl Files {
    /// Transfers with the server and tokens of these options.
    ///
    /// # Errors
    /// The URL is none of a server, or the system's certificates cannot be read.
    pub fn new(options: &Options) -> Result<Self, ClientError> {
        Ok(Self { http: Http::new(&options.url, Arc::clone(&options.token))? })
    }

    /// What the server knows of a file.
    ///
    /// # Errors
    /// There is no such file for this user, or the server cannot be reached.
    pub async fn info(&self, id: &str) -> Result<FileInfo, ClientError> {
        let mut failures = Failures::default();
        loop {
            match self.http.json(&format!("/v1/files/{}/info", path_part(id)?)).await {
                Err(error) => failures.pause(error).await?,
                found => return found,
            }
        }
    }
}

/// An id as a part of a path; ids have no character that would have to be escaped.
fn path_part(id: &str) -> Result<&str, ClientError> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    match id {
        "" | "." | ".." => Err(ClientError::Protocol("a file's id is missing".to_owned())),
        id if id.chars().all(is_plain) => Ok(id),
        _ => Err(ClientError::Protocol("a file's id is letters, digits, _ and -".to_owned())),
    }
}

fn broken(error: &std::io::Error) -> ClientError {
    ClientError::File(error.to_string())
}

fn broken_at(path: &Path, error: &std::io::Error) -> ClientError {
    ClientError::File(format!("{}: {error}", path.display()))
}

/// Attempts that brought nothing, one after the other.
#[derive(Default)]
struct Failures {
    count: u32,
}

impl Failures {
    /// Something was brought about.
    fn forget(&mut self) {
        self.count = 0;
    }

    /// Waits before the next attempt; gives the error up where there is to be none.
    async fn pause(&mut self, error: ClientError) -> Result<(), ClientError> {
        self.count += 1;
        if !error.is_retryable() || self.count >= ATTEMPTS {
            return Err(error);
        }
        let longest = PAUSE.saturating_mul(1 << self.count.min(10)).min(PAUSE_MAX);
        let share = rand::rng().random_range(0.5..1.0);
        tokio::time::sleep(longest.mul_f64(share)).await;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_cannot_lead_elsewhere() {
        assert!(path_part("fl_00ab").is_ok());
        for id in ["", ".", "..", "../users", "a/b", "a?b", "a#b", "a%2fb", "a b"] {
            assert!(path_part(id).is_err(), "{id}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_may_be_tried_again_is_tried_a_bounded_number_of_times() {
        let mut failures = Failures::default();
        for _ in 1..ATTEMPTS {
            failures.pause(ClientError::Unreachable("cut".to_owned())).await.unwrap();
        }
        assert!(failures.pause(ClientError::Unreachable("cut".to_owned())).await.is_err());
        failures.forget();
        failures.pause(ClientError::Unreachable("cut".to_owned())).await.unwrap();
        assert!(failures.pause(ClientError::Protocol("nonsense".to_owned())).await.is_err());
    }
}
