//! The coordinator's life over real sockets and real processes, with workers that do everything but compute.

mod bare;
mod driver;
mod fakes;
mod harness;
mod local;
mod restart;
mod scale;
