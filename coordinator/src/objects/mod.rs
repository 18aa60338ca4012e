//! Models and data that lie in an object store: what is under an `s3://` address, and its content into a cache of this machine.
//!
//! In: an address, names of its objects. Out: blobs in the cache, and a folder that names them. What is there is asked of the store every
//! time, so that another content under the same address is noticed. Must never take pieces of two contents for one, nor leave a
//! folder that names what is not there. Keys of results hold digests of content, never an address or a tag.

pub mod address;
pub mod cache;
pub mod error;
pub mod fetch;

pub use address::{Address, Object, Store};
pub use cache::ObjectCache;
pub use error::ObjectError;
