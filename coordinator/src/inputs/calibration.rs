//! A calibration → its windows for one model and seed.

use super::catalog;
use super::error::InputsError;
use super::items::{SplitFiles, lone_file, of_split};
use super::model::Model;
use super::read::files::data_files;
use super::read::text::{Texts, read_texts};
use super::sources::{HubCache, Source};
use super::windows;
use crate::spec::file::{CalibrationDecl, Sampler};
use crate::spec::validate::{most_windows, windows_expected};
use espalier_proto::inputs::{Inputs, Windows};
use std::collections::BTreeMap;
use std::path::Path;

/// The split that is read where nothing is said.
pub(super) const DEFAULT_SPLIT: &str = "train";
/// The field of records that is read where nothing is said.
const DEFAULT_FIELD: &str = "text";

/// Resolves calibrations; texts and their tokens are kept, because seeds draw from the same ones.
#[derive(Default)]
pub struct Calibrations {
    texts: BTreeMap<String, Texts>,
    sources: BTreeMap<String, Source>,
    tokens: BTreeMap<(String, String), Vec<u32>>,
}

/// Windows with what drove their draw.
pub struct Drawn {
    /// The windows.
    pub inputs: Inputs,
    /// Where their text is from.
    pub source: Source,
    /// False if they were taken in file order: then no seed drove them.
    pub by_seed: bool,
}

impl Calibrations {
    /// The windows of one calibration. `at`: its place in the sweep file, for messages.
    pub fn windows(
        &mut self,
        decl: &CalibrationDecl,
        seed: u64,
        model: &Model,
        hub: &HubCache,
        at: &str,
    ) -> Result<Drawn, InputsError> {
        let declared = |field: &str, found: String, expected: String| InputsError::Declared {
            at: at.to_owned(),
            field: format!("calibration.{field}"),
            found,
            expected,
        };
        let seqlen = model.seqlen(decl.seqlen);
        if seqlen as usize > model.arch.max_positions {
            let expected =
                format!("at most {}, the limit of model {}", model.arch.max_positions, model.entry.id);
            return Err(declared("seqlen", seqlen.to_string(), expected));
        }
        if decl.nsamples > most_windows(seqlen) {
            return Err(declared("nsamples", decl.nsamples.to_string(), windows_expected(seqlen)));
        }
        let field = decl.field.as_deref().unwrap_or(DEFAULT_FIELD);
        let split = decl.split.as_deref().unwrap_or(DEFAULT_SPLIT);
        let source = format!("{}\u{0}{split}\u{0}{field}", decl.data);
        if !self.texts.contains_key(&source) {
            let found = files(decl, split, hub, &declared)?;
            self.texts.insert(source.clone(), read_texts(&found.files, field)?);
            self.sources.insert(source.clone(), found.source);
        }
        let texts = &self.texts[&source];
        let by_seed = decl.sampler != Sampler::Windows && matches!(texts, Texts::Rows(_));
        let short = |found| InputsError::TooShort {
            data: decl.data.clone(),
            model: model.entry.id.clone(),
            found,
            seqlen,
            need: "a calibration window and one token to draw from",
        };
        let length = seqlen as usize;
        let drawn = match (texts, decl.sampler) {
            (Texts::Rows(rows), _) if rows.iter().all(|r| r.trim().is_empty()) => {
                return Err(InputsError::data(Path::new(&decl.data), "no text", "text to calibrate on"));
            }
            (Texts::Rows(rows), Sampler::Concat) => {
                let key = (model.entry.id.clone(), source.clone());
                let tokens = match self.tokens.entry(key) {
                    std::collections::btree_map::Entry::Occupied(known) => known.into_mut(),
                    std::collections::btree_map::Entry::Vacant(new) => {
                        new.insert(model.tokenizer.encode(&rows.join(" "))?)
                    }
                };
                windows::concat(tokens, decl.nsamples, length, seed).ok_or_else(|| short(tokens.len()))?
            }
            (Texts::Rows(rows), Sampler::Document) => {
                let mut longest = 0;
                let tokens_of = |row: usize| {
                    let tokens = model.tokenizer.encode(&rows[row])?;
                    longest = longest.max(tokens.len());
                    Ok(tokens)
                };
                windows::document(rows.len(), decl.nsamples, length, seed, tokens_of)?
                    .ok_or_else(|| short(longest))?
            }
            (Texts::Rows(rows), Sampler::Windows) => {
                let tokens = rows.iter().map(|row| model.tokenizer.encode(row));
                first(decl, length, tokens)?
            }
            (Texts::Ids(rows), _) => first(decl, length, rows.iter().cloned().map(Ok))?,
        };
        let inputs = Inputs::Calibration(Windows::new(seqlen, drawn));
        model.check_ids(&decl.data, &inputs)?;
        Ok(Drawn { inputs, source: self.sources[&source].clone(), by_seed })
    }
}

/// The first records, each cut to the window.
fn first(
    decl: &CalibrationDecl,
    seqlen: usize,
    rows: impl Iterator<Item = Result<Vec<u32>, InputsError>>,
) -> Result<Vec<Vec<u32>>, InputsError> {
    let mut windows = Vec::new();
    for (i, row) in rows.take(decl.nsamples as usize).enumerate() {
        let mut row = row?;
        if row.len() < seqlen {
            return Err(InputsError::Value {
                file: decl.data.clone(),
                place: format!("record {}", i + 1),
                field: "window".to_owned(),
                found: format!("{} tokens", row.len()),
                expected: format!("at least {seqlen}, one window"),
            });
        }
        row.truncate(seqlen);
        windows.push(row);
    }
    if windows.len() < decl.nsamples as usize {
        let path = Path::new(&decl.data);
        return Err(InputsError::data(
            path,
            format!("{} records", windows.len()),
            format!("{}, one a window", decl.nsamples),
        ));
    }
    Ok(windows)
}

/// The files that a calibration reads.
pub(super) fn files(
    decl: &CalibrationDecl,
    split: &str,
    hub: &HubCache,
    declared: &dyn Fn(&str, String, String) -> InputsError,
) -> Result<SplitFiles, InputsError> {
    let (source, data) = if let Some(path) = hub.data(&decl.data)? {
        if let Some(only) = lone_file(&decl.data, &path)? {
            return Ok(only);
        }
        (Source::plain(&decl.data), data_files(&path, None)?)
    } else if decl.data.contains('/') {
        let (located, files) = hub.named_dataset(&decl.data, None)?;
        (located.source, files)
    } else {
        let Some(task) = catalog::task(&decl.data).filter(|t| !t.text.is_empty()) else {
            let texts: Vec<&str> =
                catalog::tasks().iter().filter(|t| !t.text.is_empty()).map(|t| t.name.as_str()).collect();
            return Err(declared(
                "data",
                decl.data.clone(),
                format!(
                    "{}, a file written ./file, s3://bucket/path, or org/name on the hub",
                    texts.join(", ")
                ),
            ));
        };
        let (located, files) =
            hub.dataset(&task.datasets, task.config.as_deref(), task.revision.as_deref())?;
        (located.source, files)
    };
    match of_split(&source, &data, split) {
        Some(found) => Ok(found),
        None if data.splits.is_empty() && data.others.len() == 1 => {
            Ok(SplitFiles { source, split: split.to_owned(), files: data.others })
        }
        None => Err(declared("split", split.to_owned(), data.names())),
    }
}
