//! Text → sweep: what the user wrote, checked, with every complaint naming file, line and column.
//!
//! [`parse::load`] gives a [`file::SweepFile`]; [`expand::expand`] turns its axes into variants once models are known.

pub mod complaint;
pub mod expand;
pub mod fields;
pub mod file;
pub mod only;
pub mod parse;
pub mod paths;
pub mod schema;
pub mod set;
pub mod validate;
pub mod yaml;

#[cfg(test)]
mod tests;
