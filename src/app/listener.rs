//! The HTTP listener.
//!
//! Invariant: the socket is bound before anything else is touched, and answers only once
//! everything behind it stands.

use std::net::SocketAddr;

use axum::Router;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use super::error::AppError;

/// A bound socket, and the address it got.
#[derive(Debug)]
pub(super) struct Bound {
    socket: TcpListener,
    /// The real address, if port 0 was asked for.
    pub(super) address: SocketAddr,
}

pub(super) async fn bind(address: SocketAddr) -> Result<Bound, AppError> {
    let failed = |source| AppError::Listen { address, source };
    let socket = TcpListener::bind(address).await.map_err(failed)?;
    let address = socket.local_addr().map_err(failed)?;
    Ok(Bound { socket, address })
}

impl Bound {
    pub(super) fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// Answers until `drain` is cancelled and every open request has been answered.
    pub(super) async fn serve(
        self,
        router: Router,
        drain: CancellationToken,
    ) -> Result<(), AppError> {
        let address = self.address;
        // Keys may be bound to addresses, and failed sign-ins are counted by them.
        let router = router.into_make_service_with_connect_info::<SocketAddr>();
        axum::serve(self.socket, router)
            .with_graceful_shutdown(async move { drain.cancelled().await })
            .await
            .map_err(|source| AppError::Listen { address, source })
    }
}
