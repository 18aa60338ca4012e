//! One line a pruning method: what it reads, its parameters with defaults, and whether it only zeroes.
//!
//! The worker's registry of implementations holds exactly these names; a test compares the two.

use crate::recipe::ParamValue;

/// What a method needs to know about the inputs of a linear.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Statistics {
    /// Only the weight itself: no calibration.
    None,
    /// Sum of squares of each input column over all calibration tokens.
    SumOfSquares,
}

/// A parameter with its default.
#[derive(Clone, Debug)]
pub struct Param {
    /// The name as in the sweep file and on the command line.
    pub name: &'static str,
    /// What it is where nothing is said; a parameter at its default is in no key.
    pub default: ParamValue,
    /// One line for people.
    pub help: &'static str,
}

/// A pruning method as both sides know it.
#[derive(Clone, Debug)]
pub struct Method {
    /// The name as users write it.
    pub name: &'static str,
    /// What it reads besides the weight.
    pub statistics: Statistics,
    /// Its own parameters.
    pub params: &'static [Param],
    /// True if surviving weights keep their value.
    pub only_zeroes: bool,
    /// Bumped when the bits it gives change.
    pub version: u32,
    /// One line for people, with its source.
    pub about: &'static str,
}

/// Every method, in the order in which tables show them. `dense` is not a method: it prunes nothing.
pub const METHODS: &[Method] = &[
    Method {
        name: "magnitude",
        statistics: Statistics::None,
        params: &[],
        only_zeroes: true,
        version: 1,
        about: "smallest |W| of each linear (N:M: of each group)",
    },
    Method {
        name: "wanda",
        statistics: Statistics::SumOfSquares,
        params: &[Param {
            name: "use_variant",
            default: ParamValue::Bool(false),
            help: "choose each row's count by the share of its cumulated scores instead of a fixed count",
        }],
        only_zeroes: true,
        version: 1,
        about: "smallest |W|·‖X‖₂ of each output row (Sun et al. 2023, arXiv:2306.11695)",
    },
];

/// The name of the recipe that prunes nothing.
pub const DENSE: &str = "dense";

/// The method called `name`, `None` for `dense` and for unknown names.
pub fn method(name: &str) -> Option<&'static Method> {
    METHODS.iter().find(|m| m.name == name)
}

/// Version of the decoder's forward pass: bumped when its bits change.
pub const FORWARD_VERSION: u32 = 1;

/// Version of scoring, inputs to numbers: bumped when its bits change.
pub const SCORE_VERSION: u32 = 1;

/// Version of the canary's order: of the first one, its key did not tell the inputs; of the second, not what is pruned how.
pub const CANARY_VERSION: u32 = 3;

/// Stage of a worker that does several shards one after another, says which it has not begun, and tells what can wait when it is due to call.
pub const AHEAD: &str = "ahead";
/// Its version.
pub const AHEAD_VERSION: u32 = 1;

/// Every stage with its version, as workers announce them.
pub fn stage_versions() -> std::collections::BTreeMap<String, u32> {
    let mut versions: std::collections::BTreeMap<String, u32> =
        METHODS.iter().map(|m| (format!("prune.{}", m.name), m.version)).collect();
    versions.insert("forward".to_owned(), FORWARD_VERSION);
    versions.insert("score".to_owned(), SCORE_VERSION);
    versions.insert("canary".to_owned(), CANARY_VERSION);
    versions.insert(AHEAD.to_owned(), AHEAD_VERSION);
    versions
}
