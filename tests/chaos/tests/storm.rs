//! The storm over a server in memory: a good one is found good, and each way to fail is noticed.

mod fake;

use std::time::Duration;

use fake::{FakeWorld, Fault};
use stonechat_chaos::{Settings, Summary, run};
use stonechat_chaos_checker::Report;

async fn storm(fault: Fault) -> (Summary, Report) {
    let settings = Settings {
        length: Duration::from_secs(10),
        kills: 5,
        is_awkward: true,
        is_calm: false,
        users: 12,
        rate: 50,
        seed: 11,
        patience: Duration::from_secs(5),
    };
    run(&settings, &mut FakeWorld::new(fault)).await.expect("a storm")
}

#[tokio::test(start_paused = true)]
async fn a_server_that_keeps_its_promises_is_found_good() {
    let (summary, report) = storm(Fault::None).await;
    assert!(report.is_clean(), "{:?}", report.findings);
    assert_eq!((summary.kills, summary.unsettled_devices, report.unanswered), (6, 0, 0));
    assert!(summary.sends_per_second >= 45.0 && report.acked > 450, "{summary:?}");
    assert_eq!(summary.devices, 36);
    assert!(report.files > 10 && report.attached > report.files, "{} files", report.files);
}

#[tokio::test(start_paused = true)]
async fn a_server_that_forgets_what_it_answered_is_noticed() {
    let (_, report) = storm(Fault::ForgetsTail).await;
    assert!(report.lost > 0, "{}", report.closing_line(0));
}

#[tokio::test(start_paused = true)]
async fn a_server_that_doubles_repeats_is_noticed() {
    let (_, report) = storm(Fault::DoublesRepeats).await;
    assert!(report.doubled > 0, "{}", report.closing_line(0));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_misses_an_event_is_noticed() {
    let (_, report) = storm(Fault::SkipsDelivery).await;
    assert!(report.gaps > 0 && report.lost > 0, "{}", report.closing_line(0));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_shows_events_in_the_wrong_order_is_noticed() {
    let (_, report) = storm(Fault::SwapsDelivery).await;
    assert!(report.reordered > 0, "{}", report.closing_line(0));
}

#[tokio::test(start_paused = true)]
async fn a_device_that_shows_other_content_is_noticed() {
    let (_, report) = storm(Fault::AltersDelivery).await;
    assert!(report.diverged > 0, "{}", report.closing_line(0));
}

#[tokio::test(start_paused = true)]
async fn a_message_whose_file_is_lost_is_noticed() {
    let (_, report) = storm(Fault::ForgetsFiles).await;
    assert!(report.missing > 0 && !report.is_clean(), "{} files", report.files);
}
