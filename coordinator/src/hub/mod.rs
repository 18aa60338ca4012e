//! The Hugging Face hub: what a repository holds, and its files into the local cache, laid out as `huggingface_hub` does it.
//!
//! In: a repository, a revision, names of files. Out: blobs whose content is what the hub says it is, linked from a snapshot.
//! Must never send a token to another host than the hub's, nor leave a snapshot that names what is not there.
//!
//! The crate `hf-hub` 0.5 reads neither HF_TOKEN nor HF_HUB_CACHE, verifies no content and wants a second reqwest; 1.0 brings
//! the whole of Xet. What is needed of the hub are three requests.

pub mod checksum;
pub mod environment;
pub mod error;
pub mod fetch;
pub mod http;
pub mod layout;
pub mod listing;
pub mod lock;
pub mod placed;
pub mod progress;
pub mod repository;

pub use environment::Environment;
pub use error::HubError;
pub use http::{Greeting, Hub};
pub use listing::{Facts, Listing};
pub use progress::Progress;
pub use repository::{Kind, Repository};
