//! What a process says of itself.

use std::{net::SocketAddr, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// How long it may take to answer.
const ASK: Duration = Duration::from_secs(2);

/// What a process says at a path, when it says that all is well.
pub async fn get(address: SocketAddr, path: &str) -> Option<String> {
    let ask = async {
        let mut stream = TcpStream::connect(address).await?;
        let request = format!("GET {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await?;
        Ok::<_, std::io::Error>(answer)
    };
    let answer = tokio::time::timeout(ASK, ask).await.ok()?.ok()?;
    answer.starts_with("HTTP/1.1 200").then_some(answer)
}

/// The sum over its labels of a counter in what a process says at `/metrics`.
pub fn counter(metrics: &str, name: &str) -> u64 {
    let of_it = metrics.lines().filter(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
    of_it.filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_summed_over_labels_and_not_over_names() {
        let metrics = "# TYPE a_total counter\na_total{role=\"x\"} 3\na_total{role=\"y\"} 4\na_total_more 9\nb 1\n";
        assert_eq!((counter(metrics, "a_total"), counter(metrics, "b"), counter(metrics, "c")), (7, 1, 0));
    }
}
