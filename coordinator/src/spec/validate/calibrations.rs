//! `calibration:` and `calibrations:` → declarations by name.

use crate::spec::complaint::Complaint;
use crate::spec::fields::{Fields, Reader};
use crate::spec::file::{CalibrationDecl, Pos, Sampler};
use crate::spec::paths;
use crate::spec::yaml::{Node, Value};
use std::collections::BTreeMap;
use std::path::Path;

/// The name of the calibration that recipes use where they say nothing.
pub const DEFAULT: &str = "default";

/// Windows where nothing is said.
const NSAMPLES: u32 = 128;

/// Windows of a calibration at most.
pub const MOST_WINDOWS: u32 = 1 << 20;
/// Tokens of a calibration at most: 64 times the reference's 128 windows of 2048.
pub const MOST_TOKENS: u32 = 1 << 24;

const KEYS: [&str; 6] = ["data", "split", "field", "sampler", "nsamples", "seqlen"];
const DATA: &str = "a dataset's name such as wikitext2, a file written ./file, s3://bucket/path, or org/name[@revision] on the hub";

/// Both keys of the file together.
pub fn read(reader: &mut Reader, top: &Fields<'_>, folder: &Path) -> BTreeMap<String, CalibrationDecl> {
    let mut all = BTreeMap::new();
    if let Some(node) = top.get("calibration")
        && let Some(decl) = one(reader, node, "calibration", folder)
    {
        all.insert(DEFAULT.to_owned(), decl);
    }
    let Some(node) = top.get("calibrations") else {
        return all;
    };
    let Value::Map(entries) = &node.value else {
        reader.complain::<()>(node, "calibrations", "a mapping: a name, then what it is");
        return all;
    };
    for (key, node) in entries {
        let field = format!("calibrations.{}", key.word);
        if key.word == DEFAULT {
            let expected = "another name: the default one is written under calibration:";
            reader.complaints.push(Complaint::new(key.at, "calibrations", DEFAULT, expected));
        } else if let Some(decl) = one(reader, node, &field, folder) {
            all.insert(key.word.clone(), decl);
        }
    }
    all
}

/// The default calibration of a file that says none: wanda's own for WikiText-2.
pub fn unsaid(at: Pos) -> CalibrationDecl {
    CalibrationDecl {
        data: "wikitext2".to_owned(),
        split: Some("train".to_owned()),
        field: None,
        sampler: Sampler::Concat,
        nsamples: NSAMPLES,
        seqlen: None,
        at,
    }
}

/// `data:`: a word is a name of the catalog; anything else is a path, or a dataset of the hub.
pub fn source(folder: &Path, text: &str) -> String {
    if paths::is_path(text) || text.contains('/') { paths::data(folder, text) } else { text.to_owned() }
}

/// Windows of this length that a calibration may have: they are in memory together.
pub fn most_windows(seqlen: u32) -> u32 {
    (MOST_TOKENS / seqlen.max(1)).clamp(1, MOST_WINDOWS)
}

/// The same in words.
pub fn windows_expected(seqlen: u32) -> String {
    format!("at most {} windows of {seqlen} tokens", most_windows(seqlen))
}

fn one(reader: &mut Reader, node: &Node, field: &str, folder: &Path) -> Option<CalibrationDecl> {
    let fields = reader.fields(node, field, &KEYS)?;
    let data = reader.required(&fields, "data", DATA).and_then(|n| {
        let field = fields.path_of("data");
        let text = reader.text(n, &field, DATA)?;
        let data = source(folder, text);
        // A word is a name of the catalog.
        let known = !data.contains(['/', '@']) || data.starts_with('/') || paths::is_source(&data);
        if known { Some(data) } else { reader.complain(n, &field, DATA) }
    });
    let mut text = |key: &str, expected| {
        fields.get(key).and_then(|n| reader.text(n, &fields.path_of(key), expected)).map(str::to_owned)
    };
    let split = text("split", "a split such as train");
    let field = text("field", "the name of the records' text field");
    let sampler = match fields.get("sampler") {
        None => Sampler::Concat,
        Some(n) => match reader.word(n, &fields.path_of("sampler"), &["concat", "document", "windows"])? {
            "document" => Sampler::Document,
            "windows" => Sampler::Windows,
            _ => Sampler::Concat,
        },
    };
    let nsamples = match fields.get("nsamples") {
        None => Some(NSAMPLES),
        Some(n) => reader.up_to(n, &fields.path_of("nsamples"), 1..=MOST_WINDOWS),
    };
    let seqlen =
        fields.get("seqlen").and_then(|n| reader.up_to(n, &fields.path_of("seqlen"), 2..=MOST_TOKENS));
    if let (Some(n), Some(found), Some(seqlen)) = (fields.get("nsamples"), nsamples, seqlen)
        && found > most_windows(seqlen)
    {
        let field = fields.path_of("nsamples");
        reader.complaints.push(Complaint::new(n.at, &field, found, windows_expected(seqlen)));
    }
    let (data, nsamples) = (data?, nsamples?);
    Some(CalibrationDecl { data, split, field, sampler, nsamples, seqlen, at: node.at })
}
