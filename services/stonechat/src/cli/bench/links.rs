//! What links between routers and gateways carry.

use std::time::Duration;

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::{sleep, timeout},
};

use crate::cli::CliError;

/// Counts an event for each node that it is sent to over a link.
const EVENTS: &str = "stonechat_rpc_link_events_total";
/// How long a router may take to tell its metrics.
const ASK: Duration = Duration::from_secs(5);
/// Links carry nothing when they carried nothing for so long.
const QUIET: Duration = Duration::from_secs(1);
/// How long it may take until they carry nothing.
const QUIET_PATIENCE: Duration = Duration::from_secs(60);

/// Events that routers sent over links so far.
pub(super) async fn events(routers: &[String]) -> Result<u64, CliError> {
    let mut all = 0;
    for router in routers {
        let failed = |reason: String| CliError::Failed(format!("read the metrics of {router}: {reason}"));
        let metrics = timeout(ASK, ask(router)).await.map_err(|_| failed("no answer".to_owned()))?;
        all += counter(&metrics.map_err(|e| failed(e.to_string()))?, EVENTS);
    }
    Ok(all)
}

/// Waits until links carry nothing, such as what users were told of being added; gives what they carried so far.
pub(super) async fn quiet(routers: &[String]) -> Result<u64, CliError> {
    let waiting = async {
        let mut before = events(routers).await?;
        loop {
            sleep(QUIET).await;
            let now = events(routers).await?;
            if now == before {
                return Ok(now);
            }
            before = now;
        }
    };
    let restless = |_| CliError::Failed("links carry something else all the time".to_owned());
    timeout(QUIET_PATIENCE, waiting).await.map_err(restless)?
}

async fn ask(host: &str) -> std::io::Result<String> {
    let mut stream = TcpStream::connect(host).await?;
    let request = format!("GET /metrics HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await?;
    match answer.starts_with("HTTP/1.1 200") {
        true => Ok(answer),
        false => Err(std::io::Error::other(answer.lines().next().unwrap_or_default().to_owned())),
    }
}

/// The sum over its labels of a counter; one that counted nothing yet is not there.
fn counter(metrics: &str, name: &str) -> u64 {
    let is_it = |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
    metrics.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels_and_not_over_names_that_begin_alike() {
        let metrics = "# TYPE a_total counter\na_total{x=\"1\"} 3\na_total{x=\"2\"} 4\na_total_more 9\nb_total 1\n";
        assert_eq!((counter(metrics, "a_total"), counter(metrics, "b_total"), counter(metrics, "c")), (7, 1, 0));
    }
}
