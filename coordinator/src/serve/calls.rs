//! One thread for the schedule and for the connections over which it is called: ten thousand workers that call every two seconds are mostly
//! small tasks that wake each other, and on one thread that costs neither a lock that is contended nor a thread that is woken.
//!
//! What users ask for may be long, and is worked on elsewhere.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio::net::TcpListener;
use tokio::runtime::{Builder, EnterGuard, Handle};
use tokio::sync::oneshot;
use tonic::body::Body;
use tonic::codegen::http::{Request, Response};
use tonic::codegen::{BoxFuture, Service};
use tonic::server::NamedService;

/// The thread; it ends, with all that runs on it, when this is dropped.
pub(super) struct Calls {
    handle: Handle,
    _end: oneshot::Sender<Infallible>,
}

impl Calls {
    /// Starts it.
    pub(super) fn start() -> io::Result<Self> {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        let (handle, (end, ended)) = (runtime.handle().clone(), oneshot::channel());
        std::thread::Builder::new().name("calls".to_owned()).spawn(move || {
            // Nothing is ever sent: that the other side is gone is the end.
            let _ = runtime.block_on(ended);
            // A request to a slow store keeps nobody.
            runtime.shutdown_background();
        })?;
        Ok(Self { handle, _end: end })
    }

    /// The listener, watched by the thread.
    pub(super) fn take(&self, listener: TcpListener) -> io::Result<TcpListener> {
        let _entered = self.enter();
        TcpListener::from_std(listener.into_std()?)
    }

    /// What is spawned while this is held runs on the thread.
    pub(super) fn enter(&self) -> EnterGuard<'_> {
        self.handle.enter()
    }

    /// Runs this on the thread; when what is returned is dropped it is given up.
    pub(super) fn run<T: Send + 'static>(
        &self,
        work: impl Future<Output = T> + Send + 'static,
    ) -> Running<T> {
        Running(self.handle.spawn(work))
    }
}

/// Something that runs on the thread.
pub(super) struct Running<T>(tokio::task::JoinHandle<T>);

impl<T> Future for Running<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        Pin::new(&mut self.0).poll(cx).map(|ended| match ended {
            Ok(value) => value,
            Err(error) => match error.try_into_panic() {
                Ok(panic) => std::panic::resume_unwind(panic),
                Err(error) => unreachable!("only its owner gives it up: {error}"),
            },
        })
    }
}

impl<T> Drop for Running<T> {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// A service whose calls are worked on by the runtime that this was made in.
#[derive(Clone)]
pub(super) struct Elsewhere<S> {
    service: S,
    handle: Handle,
}

impl<S> Elsewhere<S> {
    /// Not on the thread that connections are on.
    pub(super) fn new(service: S) -> Self {
        Self { service, handle: Handle::current() }
    }
}

impl<S: NamedService> NamedService for Elsewhere<S> {
    const NAME: &'static str = S::NAME;
}

impl<S> Service<Request<Body>> for Elsewhere<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible>,
    S::Future: Send + 'static,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = BoxFuture<Response<Body>, Infallible>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        self.service.poll_ready(cx)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let work = Running(self.handle.spawn(self.service.call(request)));
        Box::pin(work)
    }
}
