//! Native formats → items and texts. Nothing is rendered or tokenised here.

pub mod columns;
pub mod files;
pub mod logiqa;
pub mod records;
pub mod schema;
pub mod text;
