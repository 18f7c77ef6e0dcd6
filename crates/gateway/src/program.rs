//! Runs machines as a program: signals end it in order, and the admin interface looks on.

use crate::admin;
use crate::driver::{Control, Driver, Ended, Hosted, Wiring};
use crate::net::Names;
use std::io;
use std::sync::Arc;
use std::time::Duration;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;

/// How long what is open may take to end: a little longer than the 32 s after which every SIP transaction is over.
pub const DRAIN_PATIENCE: Duration = Duration::from_secs(35);

/// Runs `parts` on this thread. SIGTERM and SIGINT drain; a second one ends at once. `admin` is a bound listener.
pub fn run(
    parts: Vec<(Box<dyn Hosted>, Wiring)>,
    names: Arc<Names>,
    admin: Option<std::net::TcpListener>,
) -> io::Result<Ended> {
    let (driver, controls) = Driver::new(parts, names);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    // Handlers stand before the first turn.
    let signals = {
        let _inside = runtime.enter();
        (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?)
    };
    std::thread::Builder::new().name("admin".into()).spawn(move || {
        runtime.block_on(async {
            if let Some(listener) = admin {
                let serving = admin::serve(listener, controls.clone());
                tokio::spawn(async {
                    if let Err(error) = serving.await {
                        tracing::error!(%error, "the admin interface ended");
                    }
                });
            }
            obey_signals(signals, &controls).await;
        });
    })?;
    driver.run()
}

async fn obey_signals((mut terminate, mut interrupt): (Signal, Signal), controls: &mpsc::Sender<Control>) {
    let mut orders = [Control::Drain(DRAIN_PATIENCE), Control::Stop].into_iter();
    loop {
        tokio::select! {
            Some(()) = terminate.recv() => {}
            Some(()) = interrupt.recv() => {}
            else => return,
        }
        let Some(order) = orders.next() else { return };
        match order {
            Control::Drain(patience) => {
                tracing::info!(?patience, "draining; a second signal ends the program at once");
            }
            _ => tracing::warn!("ending at once"),
        }
        if controls.send(order).await.is_err() {
            return;
        }
    }
}
