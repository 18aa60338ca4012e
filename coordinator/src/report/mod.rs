//! Table → files: `results.*` from the table alone, `costs.*` from what was measured about the doing.
//!
//! * [`write`]: which files there are, and where they go.
//! * [`data`], [`costs`], [`samples`]: for programs. [`html`], [`markdown`], [`terminal`]: for people.
//! * [`tables`], [`charts`], [`answer`]: what the last three show. [`view`], [`numbers`]: how they see it.

pub mod answer;
pub mod charts;
pub mod cost_tables;
pub mod costs;
pub mod data;
pub mod html;
pub mod markdown;
pub mod numbers;
pub mod samples;
pub mod tables;
pub mod terminal;
pub mod view;
pub mod write;
