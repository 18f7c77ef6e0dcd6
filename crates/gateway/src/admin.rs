//! Health and metrics over HTTP, away from the thread of the driver.
//!
//! Every answer asks the driver, so that `/livez` fails when the driver no longer takes turns.

use crate::driver::{Control, Report};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use std::io;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};

/// How long the driver may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Serves `/livez`, `/readyz` and `/metrics` for as long as it is polled.
pub async fn serve(listener: std::net::TcpListener, driver: mpsc::Sender<Control>) -> io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(driver);
    axum::serve(tokio::net::TcpListener::from_std(listener)?, router).await
}

/// How the driver and its machines are; `None` where the driver takes no turns.
pub(crate) async fn ask(driver: &mpsc::Sender<Control>) -> Option<Report> {
    let asking = async {
        let (sender, answer) = oneshot::channel();
        driver.send(Control::Report(sender)).await.ok()?;
        answer.await.ok()
    };
    tokio::time::timeout(PATIENCE, asking).await.ok()?
}

const NO_ANSWER: (StatusCode, &str) = (StatusCode::SERVICE_UNAVAILABLE, "the gateway does not answer\n");

async fn livez(State(driver): State<mpsc::Sender<Control>>) -> impl IntoResponse {
    match ask(&driver).await {
        Some(_) => (StatusCode::OK, "alive\n"),
        None => NO_ANSWER,
    }
}

async fn readyz(State(driver): State<mpsc::Sender<Control>>) -> impl IntoResponse {
    match ask(&driver).await {
        Some(Report { ready: true, .. }) => (StatusCode::OK, "ready\n"),
        Some(_) => (StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
        None => NO_ANSWER,
    }
}

async fn metrics(State(driver): State<mpsc::Sender<Control>>) -> impl IntoResponse {
    match ask(&driver).await {
        Some(report) => ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], report.metrics.render())
            .into_response(),
        None => NO_ANSWER.into_response(),
    }
}
