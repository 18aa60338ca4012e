//! The coordinator's life over real sockets and real processes, with workers that do everything but compute.

mod driver;
mod harness;
mod local;
