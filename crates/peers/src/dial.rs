//! Channels to other processes.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use hyper_util::rt::TokioIo;
use stonechat_model::limits;
use tokio::net::TcpStream;
use tonic::transport::{Channel, Endpoint};

use crate::Identity;

/// How long a connection may take to come about, its handshake included.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// Unread bytes of one stream; large enough that a busy link between roles never waits for the window.
const STREAM_WINDOW_BYTES: u32 = 1024 * 1024;
/// Unread bytes of one connection.
const CONNECTION_WINDOW_BYTES: u32 = 4 * 1024 * 1024;
/// A silent peer is asked whether it lives after this.
const KEEP_ALIVE: Duration = Duration::from_secs(limits::PEER_KEEP_ALIVE_S);
/// How long it has to answer.
const KEEP_ALIVE_TIMEOUT: Duration = Duration::from_secs(limits::PEER_KEEP_ALIVE_TIMEOUT_S);

/// Makes channels, which connect when they are used: by TLS with the identity of that moment where there is one.
pub fn dialer(identity: Option<Arc<Identity>>) -> Arc<dyn Fn(SocketAddr) -> Channel + Send + Sync> {
    Arc::new(move |address| {
        let identity = identity.clone();
        let connect = tower::service_fn(move |_| {
            let identity = identity.clone();
            async move {
                let connecting = async {
                    let stream = TcpStream::connect(address).await?;
                    stream.set_nodelay(true)?;
                    match identity {
                        None => Ok(Io::Plain(stream)),
                        Some(identity) => Ok(Io::Tls(Box::new(identity.connect(stream).await?))),
                    }
                };
                let late = |_| io::Error::from(io::ErrorKind::TimedOut);
                let connected: io::Result<Io> =
                    tokio::time::timeout(CONNECT_TIMEOUT, connecting).await.map_err(late)?;
                connected.map(TokioIo::new)
            }
        });
        let endpoint = Endpoint::from_shared(format!("http://{address}"));
        endpoint
            .unwrap_or_else(|_| unreachable!("an address is a URL"))
            .initial_stream_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
            .http2_keep_alive_interval(KEEP_ALIVE)
            .keep_alive_timeout(KEEP_ALIVE_TIMEOUT)
            .connect_with_connector_lazy(connect)
    })
}

/// A connection in one of its forms.
enum Io {
    Plain(TcpStream),
    Tls(Box<tokio_rustls::client::TlsStream<TcpStream>>),
}

mod io_impl {
    use std::{
        io,
        pin::Pin,
        task::{Context, Poll},
    };

    use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

    use super::Io;

    macro_rules! each {
        ($self:ident, $stream:ident => $call:expr) => {
            match $self.get_mut() {
                Io::Plain($stream) => {
                    let $stream = Pin::new($stream);
                    $call
                }
                Io::Tls($stream) => {
                    let $stream = Pin::new($stream.as_mut());
                    $call
                }
            }
        };
    }

    impl AsyncRead for Io {
        fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
            each!(self, stream => stream.poll_read(cx, buf))
        }
    }

    impl AsyncWrite for Io {
        fn poll_write(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
            each!(self, stream => stream.poll_write(cx, buf))
        }

        fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            each!(self, stream => stream.poll_flush(cx))
        }

        fn poll_shutdown(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
            each!(self, stream => stream.poll_shutdown(cx))
        }
    }
}
