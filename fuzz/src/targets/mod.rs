//! The registry. One target a boundary; docs/fuzzing.md says which boundary that is.

mod checkpoints;
mod data;
mod hub;
mod models;
mod names;
mod protocol;
mod records;
mod sweeps;
mod tasks;

/// One reader under random bytes.
pub struct Target {
    /// As the command line and the corpus's folder name it.
    pub name: &'static str,
    /// Panics where the reader breaks a claim.
    pub run: fn(&[u8]),
}

/// Every target.
pub const TARGETS: &[Target] = &[
    Target { name: "safetensors", run: models::safetensors },
    Target { name: "config", run: models::config },
    Target { name: "index", run: models::index },
    Target { name: "tokenizer", run: models::tokenizer },
    Target { name: "compact", run: checkpoints::compact },
    Target { name: "compact_whole", run: checkpoints::compact_whole },
    Target { name: "sweep", run: sweeps::sweep },
    Target { name: "set", run: sweeps::set },
    Target { name: "task", run: tasks::task },
    Target { name: "template", run: tasks::template },
    Target { name: "template_grammar", run: tasks::template_grammar },
    Target { name: "json", run: data::json },
    Target { name: "csv", run: data::csv },
    Target { name: "parquet", run: data::parquet },
    Target { name: "logiqa", run: data::logiqa },
    Target { name: "record", run: records::record },
    Target { name: "inputs", run: records::inputs },
    Target { name: "objects", run: records::objects },
    Target { name: "segment", run: records::segment },
    Target { name: "names", run: names::names },
    Target { name: "paths", run: names::paths },
    Target { name: "address", run: names::address },
    Target { name: "hub", run: hub::hub },
    Target { name: "messages", run: protocol::messages },
    Target { name: "schedule", run: protocol::schedule },
];
