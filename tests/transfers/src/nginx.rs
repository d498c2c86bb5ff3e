//! nginx as a plain file server.

use std::{net::SocketAddr, path::Path, time::Duration};

use stonechat_backends::server::{Folder, Program, Server, free_ports};
use tokio::net::TcpStream;

use crate::{
    Failure,
    measure::{File, fetch},
    wire,
};

/// How long a start may take.
const START: Duration = Duration::from_secs(20);

/// nginx, with a folder of files.
pub struct Nginx {
    server: Server,
    address: SocketAddr,
    // Goes after the server that works in it.
    folder: Folder,
}

fn settings(port: u16) -> String {
    format!(
        "daemon off; master_process off; pid nginx.pid; error_log stderr; events {{}}
http {{
    access_log off; sendfile on; tcp_nopush on; client_max_body_size 0; client_body_buffer_size 256k;
    client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi;
    scgi_temp_path scgi;
    server {{ listen 127.0.0.1:{port}; root files; location / {{ dav_methods PUT; }} }}
}}
"
    )
}

impl Nginx {
    /// Starts it.
    pub async fn start(program: &Path) -> Result<Self, Failure> {
        let (folder, port) = (Folder::new()?, free_ports(1)?[0]);
        let configuration = folder.write("nginx.conf", &settings(port))?;
        folder.write("files/empty", "")?;
        let prefix = format!("{}/", folder.path().display());
        let arguments = ["-p", &prefix, "-e", "stderr", "-c", &configuration.display().to_string()].map(str::to_owned);
        let mut server = Server::start(Program::new(program, folder.path()).with(arguments))?;
        let address = SocketAddr::from(([127, 0, 0, 1], port));
        server.ready(START, || async move { TcpStream::connect(address).await.is_ok() }).await?;
        Ok(Self { server, address, folder })
    }

    /// Its process.
    pub fn pid(&self) -> Result<u32, Failure> {
        self.server.pid().ok_or_else(|| "nginx has ended".into())
    }

    /// Uploads a file, as one or as many as streams; on disk when it returns. Beside several parts the whole is kept.
    pub async fn upload(&self, file: &File, streams: u64) -> Result<(), Failure> {
        let uploads = file.parts(streams).enumerate().map(|(number, part)| async move {
            let name = if streams == 1 { "whole".to_owned() } else { format!("part{number}") };
            wire::ask(self.address, &[format!("PUT /{name} HTTP/1.1")], Some(file.part(part))).await?;
            let written = self.folder.path().join("files").join(name);
            tokio::fs::File::open(written).await?.sync_all().await?;
            Ok::<_, Failure>(())
        });
        futures::future::try_join_all(uploads).await.map(drop)
    }

    /// Downloads what was uploaded whole.
    pub async fn download(&self, file: &File, streams: u64) -> Result<(), Failure> {
        fetch(self.address, &["GET /whole HTTP/1.1".to_owned()], file, streams).await
    }
}
