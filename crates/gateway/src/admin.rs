//! Health and metrics over HTTP, away from the thread of the driver.
//!
//! Every answer asks the driver, so that `/livez` fails when the driver no longer takes turns. Whoever connects and asks nothing
//! keeps nobody else out, and takes no descriptors from the driver: for one connection too many the oldest is closed.

use crate::driver::{Control, Report};
use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::IntoResponse;
use axum::routing::get;
use axum::serve::Listener;
use std::collections::VecDeque;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};

/// How long the driver may take to answer.
const PATIENCE: Duration = Duration::from_secs(2);

/// Connections at a time. Monitoring systems keep one or two.
const MOST_CONNECTIONS: usize = 64;

/// Serves `/livez`, `/readyz` and `/metrics` for as long as it is polled.
pub async fn serve(listener: std::net::TcpListener, driver: mpsc::Sender<Control>) -> io::Result<()> {
    let router = Router::new()
        .route("/livez", get(livez))
        .route("/readyz", get(readyz))
        .route("/metrics", get(metrics))
        .with_state(driver);
    let listener = Bounded { listener: TcpListener::from_std(listener)?, leases: VecDeque::new() };
    axum::serve(listener, router).await
}

/// Accepts connections, and closes the oldest where there would be too many.
struct Bounded {
    listener: TcpListener,
    /// One for each connection that is open, the oldest first. A connection whose lease is dropped ends.
    leases: VecDeque<oneshot::Sender<()>>,
}

impl Listener for Bounded {
    type Io = Leased;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Leased, SocketAddr) {
        let (stream, address) = Listener::accept(&mut self.listener).await;
        self.leases.retain(|lease| !lease.is_closed());
        if self.leases.len() >= MOST_CONNECTIONS {
            self.leases.pop_front();
        }
        let (lease, end) = oneshot::channel();
        self.leases.push_back(lease);
        (Leased { stream, end: Some(end) }, address)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// A connection that ends with its lease.
struct Leased {
    stream: TcpStream,
    /// `None` once it has ended.
    end: Option<oneshot::Receiver<()>>,
}

impl Leased {
    fn stream(&mut self, context: &mut Context<'_>) -> io::Result<Pin<&mut TcpStream>> {
        // Nobody ever sends anything over it: what comes is its end.
        if self.end.as_mut().is_some_and(|end| Pin::new(end).poll(context).is_ready()) {
            self.end = None;
        }
        if self.end.is_some() { Ok(Pin::new(&mut self.stream)) } else { Err(io::ErrorKind::ConnectionAborted.into()) }
    }
}

impl AsyncRead for Leased {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream(context)?.poll_read(context, buffer)
    }
}

impl AsyncWrite for Leased {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        self.stream(context)?.poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
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
