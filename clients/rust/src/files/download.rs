//! Downloads.

use std::path::{Path, PathBuf};

use futures::TryStreamExt as _;
use http::{HeaderMap, Method, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use tokio::{fs::File, io::AsyncWriteExt as _};

use super::{
    Failures, Files, Progress, SILENCE, broken, broken_at,
    http::{nothing, number, text},
    path_part,
};
use crate::ClientError;

/// How often the store that the server names may give nothing before the server is asked for the bytes itself.
const STORE_FAILURES: u32 = 2;

/// What is to come.
struct Wanted {
    path: String,
    /// How often the store gave nothing.
    store_failures: u32,
    tag: String,
    size: u64,
}

fn wanted(path: &str, headers: &HeaderMap) -> Result<Wanted, ClientError> {
    let tag = text(headers, header::ETAG).to_owned();
    match number(headers, header::CONTENT_LENGTH) {
        Some(size) if tag.starts_with('"') => Ok(Wanted { path: path.to_owned(), store_failures: 0, tag, size }),
        _ => Err(ClientError::Protocol("the server says neither length nor ETag of a file".to_owned())),
    }
}

impl Wanted {
    /// Whether an answer of the store is of this file, from an offset on or from its beginning: its ETag says nothing here.
    fn is_given_by(&self, response: &Response<Incoming>, from: u64) -> bool {
        match response.status() {
            StatusCode::PARTIAL_CONTENT => {
                let range = format!("bytes {from}-{}/{}", self.size.saturating_sub(1), self.size);
                text(response.headers(), header::CONTENT_RANGE) == range
            }
            _ => number(response.headers(), header::CONTENT_LENGTH) == Some(self.size),
        }
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
        let mut wanted = loop {
            match self.http.ask(Method::HEAD, &path, &[], nothing()).await {
                Ok(response) => break wanted(&path, response.headers())?,
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
            let fetched = self.fetch(&mut wanted, here, &mut file, &progress).await;
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

    /// What is missing, from the server, or from the store that it names: anew each time, since links to it expire.
    async fn ask_for(&self, wanted: &mut Wanted, here: u64) -> Result<Response<Incoming>, ClientError> {
        let range = [("range", format!("bytes={here}-")), ("if-range", wanted.tag.clone())];
        let headers = if here == 0 { &[][..] } else { &range[..] };
        let by_server = if wanted.store_failures < STORE_FAILURES { "" } else { "?direct=0" };
        let response = self.http.ask(Method::GET, &format!("{}{by_server}", wanted.path), headers, nothing()).await?;
        if response.status() == StatusCode::TEMPORARY_REDIRECT {
            let followed = self.http.follow(text(response.headers(), header::LOCATION), here).await;
            let other = || ClientError::Unreachable("the store gives another file".to_owned());
            let given = followed.and_then(|it| if wanted.is_given_by(&it, here) { Ok(it) } else { Err(other()) });
            wanted.store_failures = if given.is_ok() { 0 } else { wanted.store_failures + 1 };
            return given;
        }
        if text(response.headers(), header::ETAG) != wanted.tag {
            return Err(ClientError::Protocol("the file became another one".to_owned()));
        }
        Ok(response)
    }

    /// Fetches what is missing.
    async fn fetch(
        &self,
        wanted: &mut Wanted,
        here: u64,
        file: &mut File,
        progress: &Progress,
    ) -> Result<(), ClientError> {
        let response = self.ask_for(wanted, here).await?;
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
mod tests;
