//! Downloads.

use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use http::{HeaderMap, Method, StatusCode, header};
use http_body_util::BodyExt as _;
use tokio::{fs::File, io::AsyncWriteExt as _};

use super::{
    Failures, Files, Progress, SILENCE, broken, broken_at,
    http::{nothing, number, text},
    path_part,
};
use crate::ClientError;

/// What is to come.
struct Wanted {
    tag: String,
    size: u64,
}

fn wanted(headers: &HeaderMap) -> Result<Wanted, ClientError> {
    let tag = text(headers, header::ETAG).to_owned();
    match number(headers, header::CONTENT_LENGTH) {
        Some(size) if tag.starts_with('"') => Ok(Wanted { tag, size }),
        _ => Err(ClientError::Protocol("the server says neither length nor ETag of a file".to_owned())),
    }
}

/// Where a download stands until it is whole: beside its place, named by what it will be.
fn unfinished(to: &Path, tag: &str) -> PathBuf {
    let tag: String = tag.chars().filter(char::is_ascii_alphanumeric).take(64).collect();
    let mut name = to.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{tag}.part"));
    to.with_file_name(name)
}

impl Files {
    /// Downloads a file to a place of this machine, whatever happens to the connection meanwhile; what an earlier attempt
    /// left of the same bytes is kept. The place has the whole file, or what was there before. Gives its length.
    ///
    /// # Errors
    /// There is no such file for this user, it cannot be written, or the server cannot be reached for long.
    pub async fn download(&self, id: &str, to: &Path, progress: Progress) -> Result<u64, ClientError> {
        let path = format!("/v1/files/{}", path_part(id)?);
        let mut failures = Failures::default();
        let wanted = loop {
            match self.http.ask(Method::HEAD, &path, &[], nothing()).await {
                Ok(response) => break wanted(response.headers())?,
                Err(error) => failures.pause(error).await?,
            }
        };
        let part = unfinished(to, &wanted.tag);
        let mut file = File::options().create(true).append(true).open(&part).await.map_err(|e| broken_at(&part, &e))?;
        loop {
            let here = file.metadata().await.map_err(|e| broken(&e))?.len();
            if here == wanted.size {
                break;
            }
            if here > wanted.size {
                file.set_len(0).await.map_err(|e| broken(&e))?;
                continue;
            }
            let fetched = self.fetch(&path, &wanted, here, &mut file, &progress).await;
            // What came before the connection broke is kept.
            file.flush().await.map_err(|e| broken(&e))?;
            if file.metadata().await.map_err(|e| broken(&e))?.len() > here {
                failures.forget();
            }
            if let Err(error) = fetched {
                failures.pause(error).await?;
            }
        }
        file.sync_all().await.map_err(|e| broken(&e))?;
        drop(file);
        tokio::fs::rename(&part, to).await.map_err(|e| broken_at(to, &e))?;
        progress(wanted.size, wanted.size);
        Ok(wanted.size)
    }

    /// Fetches what is missing.
    async fn fetch(
        &self,
        path: &str,
        wanted: &Wanted,
        here: u64,
        file: &mut File,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let range = [("range", format!("bytes={here}-")), ("if-range", wanted.tag.clone())];
        let headers = if here == 0 { &[][..] } else { &range[..] };
        let response = self.http.ask(Method::GET, path, headers, nothing()).await?;
        if text(response.headers(), header::ETAG) != wanted.tag {
            return Err(ClientError::Protocol("the file became another one".to_owned()));
        }
        let mut here = here;
        match response.status() {
            StatusCode::PARTIAL_CONTENT
                if text(response.headers(), header::CONTENT_RANGE).starts_with(&format!("bytes {here}-")) => {}
            StatusCode::OK => {
                file.set_len(0).await.map_err(|e| broken(&e))?;
                here = 0;
            }
            _ => return Err(ClientError::Protocol("the server gives another range than was asked for".to_owned())),
        }
        let mut body = response.into_body().into_data_stream();
        loop {
            let next = tokio::time::timeout(SILENCE, body.try_next()).await;
            let next = next.map_err(|_| ClientError::Unreachable("nothing comes any more".to_owned()))?;
            let Some(bytes) = next.map_err(|e| ClientError::Unreachable(e.to_string()))? else { return Ok(()) };
            here += bytes.len() as u64;
            if here > wanted.size {
                return Err(ClientError::Protocol("the file is longer than was said".to_owned()));
            }
            file.write_all(&bytes).await.map_err(|e| broken(&e))?;
            progress(here, wanted.size);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_unfinished_stands_beside_its_place_and_leads_nowhere_else() {
        let part = unfinished(Path::new("/tmp/a.png"), "\"../../x7\"");
        assert_eq!(part, Path::new("/tmp/a.png.x7.part"));
    }
}
