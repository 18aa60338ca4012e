//! Writes the report of made-up records into a folder, to be looked at while working on tables and charts:
//! `cargo run -p espalier-tests --example synthetic_report -- DIR [SEEDS]`.

use espalier::merge::collect::Found;
use espalier::report::write::{Report, write_to_folder};
use espalier_tests::synthetic::synthetic;

fn main() {
    let mut args = std::env::args().skip(1);
    let folder = args.next().expect("a folder to write into");
    let seeds = args.next().and_then(|s| s.parse().ok()).unwrap_or(1);
    let made = synthetic(seeds);
    let mut found = Found::empty(made.sweep);
    found.variants = made.variants.into_iter().map(|r| (r.key, r)).collect();
    found.cells = made.cells.into_iter().map(|r| (r.key, r)).collect();
    let index = write_to_folder(folder.as_ref(), &Report::new(&found, None)).expect("the report is written");
    println!("{}", index.display());
}
