//! Accepted connections, so that an answer costs one system call: the HTTP/2 codec keeps a message of up to a kilobyte in one buffer with
//! its headers and trailers only where a stream does not write vectors, and the kernel is to send what it is given at once.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio_stream::wrappers::TcpListenerStream;
use tokio_stream::{Stream, StreamExt};
use tonic::transport::server::{Connected, TcpConnectInfo};

/// A connection that writes one buffer at a time.
pub(super) struct Wire(TcpStream);

/// Connections to `listener`.
pub(super) fn connections(listener: TcpListener) -> impl Stream<Item = io::Result<Wire>> {
    TcpListenerStream::new(listener).map(|accepted| {
        let stream = accepted?;
        // Of a connection that is already gone the first read tells.
        let _ = stream.set_nodelay(true);
        Ok(Wire(stream))
    })
}

impl Connected for Wire {
    type ConnectInfo = TcpConnectInfo;

    fn connect_info(&self) -> TcpConnectInfo {
        self.0.connect_info()
    }
}

impl AsyncRead for Wire {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_read(cx, buffer)
    }
}

/// Not vectored, which is what a stream is that does not say otherwise.
impl AsyncWrite for Wire {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.0).poll_write(cx, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll_shutdown(cx)
    }
}
