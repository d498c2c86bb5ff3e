//! Requests of a tenant's own server, with bodies that are streams.

use std::convert::Infallible;

use futures::{Stream, StreamExt as _, TryStreamExt as _};
use http_body_util::{BodyExt as _, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    Method, Request, Response,
    body::{Bytes, Frame, Incoming},
    header,
};
use hyper_util::{
    client::legacy::{Client, connect::HttpConnector},
    rt::TokioExecutor,
};
use tokio::io::AsyncBufRead;
use tokio_util::io::StreamReader;

use super::super::server::Server;
use crate::cli::CliError;

/// Lines of JSON.
const LINES: &str = "application/x-ndjson";

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// A tenant at a server.
pub(super) struct Tenant {
    client: Client<HttpConnector, Body>,
    base: String,
    key: String,
}

fn failed(what: &str, error: impl std::fmt::Display) -> CliError {
    CliError::Failed(format!("{what}: {error}"))
}

impl Tenant {
    pub fn of(server: &Server) -> Result<Self, CliError> {
        let key = server.server_key.clone().ok_or_else(|| failed("call the api", "no server key"))?;
        let client = Client::builder(TokioExecutor::new()).build_http();
        Ok(Self { client, base: format!("http://{}", server.next_host()), key })
    }

    async fn ask(&self, method: Method, target: &str, body: Body) -> Result<Response<Incoming>, CliError> {
        let request = Request::builder()
            .method(method)
            .uri(format!("{}{target}", self.base))
            .header(header::AUTHORIZATION, format!("Bearer {}", self.key))
            .header(header::CONTENT_TYPE, LINES)
            .body(body)
            .map_err(|e| failed("ask", e))?;
        let response = self.client.request(request).await.map_err(|e| failed("ask", format!("{e:?}")))?;
        if response.status().is_success() {
            return Ok(response);
        }
        let status = response.status();
        let said = response.into_body().collect().await.map_err(|e| failed("read the answer", e))?;
        Err(CliError::Refused(format!("{status}: {}", String::from_utf8_lossy(&said.to_bytes()))))
    }

    /// Imports lines; gives how many items were taken.
    pub async fn import(&self, lines: impl Stream<Item = Bytes> + Send + 'static) -> Result<u64, CliError> {
        let body = StreamBody::new(lines.map(|piece| Ok(Frame::data(piece)))).boxed_unsync();
        let answer = self.ask(Method::POST, "/v1/import", body).await?.into_body().collect().await;
        let answer = answer.map_err(|e| failed("read the answer", e))?.to_bytes();
        let answer: serde_json::Value = serde_json::from_slice(&answer).map_err(|e| failed("read the answer", e))?;
        answer["items"].as_u64().ok_or_else(|| failed("read the answer", answer))
    }

    /// Reads what a `GET` brings; an answer that breaks off is an error of the reader.
    pub async fn get(&self, target: &str) -> Result<impl AsyncBufRead + Send + Unpin, CliError> {
        let response = self.ask(Method::GET, target, Empty::new().boxed_unsync()).await?;
        let pieces = response.into_body().into_data_stream().map_err(std::io::Error::other);
        Ok(StreamReader::new(pieces))
    }
}
