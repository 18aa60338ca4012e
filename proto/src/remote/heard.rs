//! A connection whose other side must be heard from: with HTTP/2's pings on it, a coordinator that hangs is told apart from one that has
//! nothing to say.

use super::ReachError;
use std::io::IoSlice;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

/// How often the other side is asked whether it is there, while it says nothing.
pub(super) const PING: Duration = Duration::from_secs(5);
/// How long nothing may go either way. A question goes within [`PING`], so that a coordinator that hangs is known after both.
const SILENCE: Duration = Duration::from_secs(15);

/// A stream that fails once nothing has gone either way for [`SILENCE`].
pub(super) struct Heard<S> {
    stream: S,
    address: String,
    last: Instant,
    alarm: Pin<Box<Sleep>>,
}

impl<S> Heard<S> {
    pub(super) fn new(stream: S, address: String) -> Self {
        Self { stream, address, last: Instant::now(), alarm: Box::pin(tokio::time::sleep(SILENCE)) }
    }

    /// What is taken goes: to a process that hangs only until the buffers between are full.
    fn wrote(&mut self, done: &Poll<std::io::Result<usize>>) {
        if matches!(done, Poll::Ready(Ok(1..))) {
            self.last = Instant::now();
        }
    }
}

/// Nobody answers any more at an open connection.
pub(super) fn mute(address: &str) -> std::io::Error {
    let error = ReachError::Mute { address: address.to_owned() };
    std::io::Error::new(std::io::ErrorKind::TimedOut, error)
}

impl<S: AsyncRead + Unpin> AsyncRead for Heard<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        to: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        if let Poll::Ready(read) = Pin::new(&mut self.stream).poll_read(cx, to) {
            self.last = Instant::now();
            return Poll::Ready(read);
        }
        loop {
            ready!(self.alarm.as_mut().poll(cx));
            let until = self.last + SILENCE;
            if until <= Instant::now() {
                return Poll::Ready(Err(mute(&self.address)));
            }
            self.alarm.as_mut().reset(until);
        }
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Heard<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write(cx, bytes);
        self.wrote(&done);
        done
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bytes: &[IoSlice<'_>],
    ) -> Poll<std::io::Result<usize>> {
        let done = Pin::new(&mut self.stream).poll_write_vectored(cx, bytes);
        self.wrote(&done);
        done
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
