//! Text → sweep: what the user wrote, checked, with every complaint naming file, line and column.

pub mod file;
