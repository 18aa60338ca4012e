//! The contract between the processes of Espalier: everything that both sides must agree on, and nothing else.
//!
//! * [`messages`]: the gRPC messages between workers and the coordinator.
//! * [`ids`], [`keys`]: names of things; content keys.
//! * [`sweep`], [`recipe`]: what a user asked for, resolved.
//! * [`inputs`]: token ids, golds and micro-batches that a worker reads.
//! * [`records`]: what finished work leaves in the bucket.
//! * [`layout`], [`bucket`]: where things lie, and create-only writes.
//! * [`arch`], [`families`]: every architectural choice of a decoder as data, read from config.json.
//! * [`model_files`]: a checkpoint's folder, checked without reading its weights.
//! * [`mirror`]: models in the bucket, by content. * [`protocol`]: durations that both sides must agree on.
//! * [`methods`]: the list of pruning methods. * [`remote`]: how a coordinator is reached and believed.
//! * [`shown`]: addresses without what may be secret in them. * [`causes`]: an error as people read it.

pub mod arch;
pub mod bucket;
pub mod catalog;
pub mod causes;
pub mod checkpoint;
pub mod families;
pub mod ids;
pub mod inputs;
pub mod keys;
pub mod layout;
pub mod methods;
pub mod mirror;
pub mod model_files;
pub mod model_folder;
pub mod protocol;
pub mod recipe;
pub mod records;
pub mod remote;
pub mod shown;
pub mod small_file;
pub mod sweep;

/// The gRPC messages, generated from `espalier/v1/*.proto`.
#[expect(
    missing_docs,
    clippy::allow_attributes,
    reason = "generated; the comments stand in the .proto files"
)]
pub mod messages {
    tonic::include_proto!("espalier.v1");
}
