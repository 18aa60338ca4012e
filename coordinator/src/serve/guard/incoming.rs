//! A port → connections, through TLS if there is an identity; who connected, where a certificate says it.
//!
//! A handshake that fails or takes too long costs nobody else anything. An answer costs one system call: the HTTP/2 codec keeps a
//! message of up to a kilobyte in one buffer with its headers and trailers only where a stream does not write vectors, and the
//! kernel is to send what it is given at once.

use super::tls::Tls;
use super::tokens::Role;
use futures::Stream;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use tonic::transport::server::Connected;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// The longest that a handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// Connections that wait to be served.
const WAITING: usize = 256;

/// Who is at the other end.
#[derive(Clone, Copy, Debug, Default)]
pub struct Peer {
    /// By a certificate that the clients' CA signed.
    pub role: Option<Role>,
}

/// A connection.
pub struct Connection {
    stream: Pin<Box<dyn Both>>,
    peer: Peer,
}

trait Both: AsyncRead + AsyncWrite + Send {}
impl<T: AsyncRead + AsyncWrite + Send> Both for T {}

/// Connections as they come.
pub struct Incoming(mpsc::Receiver<io::Result<Connection>>);

impl Incoming {
    /// Accepts on `listener` until this is dropped.
    pub fn new(listener: TcpListener, tls: Option<Tls>) -> Self {
        let (sender, receiver) = mpsc::channel(WAITING);
        tokio::spawn(accept(listener, tls, sender));
        Self(receiver)
    }
}

async fn accept(listener: TcpListener, tls: Option<Tls>, sender: mpsc::Sender<io::Result<Connection>>) {
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            () = sender.closed() => return,
        };
        let stream = match accepted {
            Ok((stream, _)) => stream,
            Err(error) => {
                // Too many open files, or a peer that has gone already: the next may be well.
                tracing::warn!(%error, "a connection could not be accepted");
                crate::clock::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let (tls, sender) = (tls.clone(), sender.clone());
        let connect = async move {
            stream.set_nodelay(true)?;
            match tls {
                None => Ok(Connection { stream: Box::pin(stream), peer: Peer::default() }),
                Some(tls) => shake(tls.acceptor(), stream).await,
            }
        };
        tokio::spawn(async move {
            match connect.await {
                // The server has ended.
                Ok(connection) => drop(sender.send(Ok(connection)).await),
                Err::<_, io::Error>(error) => tracing::debug!(%error, "a connection was not taken"),
            }
        });
    }
}

async fn shake(tls: TlsAcceptor, stream: TcpStream) -> io::Result<Connection> {
    let shaken = tokio::select! {
        shaken = tls.accept(stream) => shaken?,
        () = crate::clock::sleep(HANDSHAKE) => return Err(io::ErrorKind::TimedOut.into()),
    };
    let certificate = shaken.get_ref().1.peer_certificates().and_then(|chain| chain.first());
    let peer = Peer { role: certificate.and_then(|certificate| role(certificate)) };
    Ok(Connection { stream: Box::pin(shaken), peer })
}

/// The role that a certificate names, among its DNS names. That its CA signed it was checked by the handshake.
fn role(certificate: &[u8]) -> Option<Role> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let names = certificate.subject_alternative_name().ok()??;
    let has = |role: &Role| {
        let name = GeneralName::DNSName(role.certificate_name());
        names.value.general_names.contains(&name)
    };
    Role::ALL.into_iter().find(has)
}

impl Stream for Incoming {
    type Item = io::Result<Connection>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.0.poll_recv(context)
    }
}

impl Connected for Connection {
    type ConnectInfo = Peer;

    fn connect_info(&self) -> Peer {
        self.peer
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_read(context, buffer)
    }
}

/// Not vectored, which is what a stream is that does not say otherwise.
impl AsyncWrite for Connection {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.stream.as_mut().poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.stream.as_mut().poll_shutdown(context)
    }
}
