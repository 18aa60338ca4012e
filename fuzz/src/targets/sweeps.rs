//! Sweep files, as users send them to a coordinator.

use crate::words::Words;
use espalier::spec::file::SweepFile;
use espalier::spec::only::Only;
use espalier::spec::parse::{Changes, as_json, parse};
use std::path::{Component, Path};

const FOLDER: &str = "/home/u";

fn parsed(text: &str, changes: &Changes) {
    match parse(text, Path::new("/home/u/s.yaml"), Path::new(FOLDER), changes) {
        Ok(file) => claims(&file),
        Err(error) => {
            let shown = error.to_string();
            assert!(
                shown.contains("s.yaml") || shown.contains("command line") || shown.contains("--set"),
                "{shown}"
            );
            assert!(shown.len() < 1 << 20, "a complaint of {} bytes", shown.len());
        }
    }
}

fn claims(file: &SweepFile) {
    assert!((1..=63).contains(&file.name.as_str().len()));
    let plain = |path: &str| {
        !path.starts_with('/') || Path::new(path).components().all(|c| !matches!(c, Component::ParentDir))
    };
    // A coordinator puts the root of what was uploaded before such a path: it must not lead out again.
    assert!(file.models.iter().all(|m| plain(&m.source)), "{:?}", file.models);
    assert!(file.calibrations.values().all(|c| plain(&c.data)), "{:?}", file.calibrations);
    assert!(
        file.tasks.iter().all(|t| plain(&t.task) && t.data.as_deref().is_none_or(plain)),
        "{:?}",
        file.tasks
    );
}

/// A sweep file's text.
pub(super) fn sweep(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    parsed(text, &Changes::default());
    let _ = as_json(text);
}

const SWEEP: &str = "name: d\nmodels: [./m]\nrecipes:\n  - {method: wanda, sparsity: [0.5, \"2:4\"]}\ncalibration: {data: c.txt}\ntasks: [wikitext2]\n";

/// `--set`, `--limit` and `--only` beside a sweep file that is sound.
pub(super) fn set(bytes: &[u8]) {
    let mut words = Words::new(bytes);
    let limit = words.one_in(2).then(|| words.number());
    let Ok(text) = std::str::from_utf8(words.rest()) else { return };
    parsed(SWEEP, &Changes { set: text.split('\u{1}').map(str::to_owned).collect(), limit });
    if let Ok(only) = text.parse::<Only>() {
        assert_eq!(only.to_string().parse(), Ok(only));
    }
}
