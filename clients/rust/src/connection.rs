//! One WebSocket connection.

use std::sync::{Arc, OnceLock};

use futures::{SinkExt as _, StreamExt as _, stream::SplitSink};
use hyper_rustls::ConfigBuilderExt as _;
use prost::Message as _;
use rustls::{ClientConfig, crypto::aws_lc_rs};
use stonechat_proto::v1::{ClientFrame, ServerFrame};
use tokio::net::TcpStream;
use tokio_tungstenite::{
    Connector, MaybeTlsStream, WebSocketStream, connect_async_tls_with_config,
    tungstenite::{Error as WsError, Message, client::IntoClientRequest, protocol::WebSocketConfig},
};

use crate::{ClientError, Encoding};

/// Frames are small and few on a client's connection.
const BUFFER_BYTES: usize = 4_096;
/// A page of a server may be large.
const MESSAGE_BYTES: usize = 16 << 20;

type Stream = WebSocketStream<MaybeTlsStream<TcpStream>>;

/// The writing half.
pub(crate) struct Writer {
    sink: SplitSink<Stream, Message>,
    encoding: Encoding,
}

/// The reading half.
pub(crate) struct Reader {
    stream: futures::stream::SplitStream<Stream>,
    encoding: Encoding,
}

/// What came.
pub(crate) enum Received {
    /// A frame.
    Frame(Box<ServerFrame>),
    /// The connection is closed, with this code if the server said one.
    Closed(Option<u16>, String),
}

/// The WebSocket address of a server's URL: `http` becomes `ws`, and the path is ours.
pub(crate) fn socket_url(url: &str) -> Result<String, ClientError> {
    let base = url.trim_end_matches('/');
    let base = match base.split_once("://") {
        Some(("http" | "ws", rest)) => format!("ws://{rest}"),
        Some(("https" | "wss", rest)) => format!("wss://{rest}"),
        _ => return Err(ClientError::Url(format!("{url} does not begin with http:// or https://"))),
    };
    Ok(if base.ends_with("/v1/ws") { base } else { format!("{base}/v1/ws") })
}

/// TLS by the certificates that this machine trusts, which are read once.
fn tls() -> Result<Connector, ClientError> {
    static CONFIG: OnceLock<Arc<ClientConfig>> = OnceLock::new();
    if let Some(config) = CONFIG.get() {
        return Ok(Connector::Rustls(Arc::clone(config)));
    }
    let unusable = |error: &dyn std::fmt::Display| ClientError::Unreachable(format!("TLS cannot be used: {error}"));
    let builder = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()));
    let builder = builder.with_safe_default_protocol_versions().map_err(|e| unusable(&e))?;
    let config = builder.with_native_roots().map_err(|e| unusable(&e))?.with_no_client_auth();
    Ok(Connector::Rustls(Arc::clone(CONFIG.get_or_init(|| Arc::new(config)))))
}

/// Connects.
pub(crate) async fn connect(url: &str, encoding: Encoding) -> Result<(Writer, Reader), ClientError> {
    let mut request = url.into_client_request().map_err(|e| ClientError::Url(e.to_string()))?;
    let protocol = http::HeaderValue::from_static(encoding.subprotocol());
    request.headers_mut().insert(http::header::SEC_WEBSOCKET_PROTOCOL, protocol);
    let config = WebSocketConfig::default()
        .read_buffer_size(BUFFER_BYTES)
        .write_buffer_size(BUFFER_BYTES)
        .max_message_size(Some(MESSAGE_BYTES))
        .max_frame_size(Some(MESSAGE_BYTES));
    let unreachable = |e: WsError| ClientError::Unreachable(e.to_string());
    let connector = if request.uri().scheme_str() == Some("wss") { tls()? } else { Connector::Plain };
    let connected = connect_async_tls_with_config(request, Some(config), true, Some(connector)).await;
    let (stream, _) = connected.map_err(unreachable)?;
    let (sink, stream) = stream.split();
    Ok((Writer { sink, encoding }, Reader { stream, encoding }))
}

impl Writer {
    /// Puts a frame among those that the next flush writes.
    pub async fn feed(&mut self, frame: &ClientFrame) -> Result<(), ClientError> {
        let message = match self.encoding {
            Encoding::Protobuf => Message::Binary(frame.encode_to_vec().into()),
            Encoding::Json => {
                let text = serde_json::to_string(frame).map_err(|e| ClientError::Protocol(e.to_string()))?;
                Message::Text(text.into())
            }
        };
        self.sink.feed(message).await.map_err(|e| ClientError::Unreachable(e.to_string()))
    }

    /// Writes what was fed.
    pub async fn flush(&mut self) -> Result<(), ClientError> {
        self.sink.flush().await.map_err(|e| ClientError::Unreachable(e.to_string()))
    }

    /// Closes the connection in order.
    pub async fn close(&mut self) {
        // Whoever closes does not care whether the other side is there still.
        let _ = self.sink.close().await;
    }
}

impl Reader {
    /// Waits for a frame or the end.
    pub async fn next(&mut self) -> Received {
        loop {
            let bytes = match self.stream.next().await {
                Some(Ok(Message::Binary(bytes))) => bytes,
                Some(Ok(Message::Text(text))) => text.into(),
                Some(Ok(Message::Close(frame))) => {
                    let (code, reason) = frame.map(|it| (u16::from(it.code), it.reason.to_string())).unzip();
                    return Received::Closed(code, reason.unwrap_or_default());
                }
                Some(Ok(_)) => continue,
                Some(Err(error)) => return Received::Closed(None, error.to_string()),
                None => return Received::Closed(None, "connection ended".to_owned()),
            };
            let decoded = match self.encoding {
                Encoding::Protobuf => ServerFrame::decode(bytes).map_err(|e| e.to_string()),
                Encoding::Json => serde_json::from_slice(&bytes).map_err(|e| e.to_string()),
            };
            match decoded {
                Ok(frame) => return Received::Frame(Box::new(frame)),
                Err(error) => return Received::Closed(None, format!("server's frame cannot be read: {error}")),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_servers_url_becomes_a_sockets() {
        assert_eq!(socket_url("http://localhost:4000/").unwrap(), "ws://localhost:4000/v1/ws");
        assert_eq!(socket_url("https://chat.example").unwrap(), "wss://chat.example/v1/ws");
        assert_eq!(socket_url("ws://h/v1/ws").unwrap(), "ws://h/v1/ws");
        assert!(socket_url("localhost:4000").is_err());
    }
}
