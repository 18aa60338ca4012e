//! Which files of a repository are read: of a model its configuration, tokenizer and safetensors, of a dataset the data files of
//! one configuration. Pure but for the index of a sharded model, which names its shards.

use super::error::InputsError;
use super::lack::Configuration;
use super::read::files::{DataFiles, is_data, sorted};
use crate::hub::{HubError, Listing};
use espalier_proto::causes::chain;
use espalier_proto::families;
use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

/// Files of a model beside its weights; those that it has.
const SMALL: [&str; 11] = [
    "config.json",
    "generation_config.json",
    TOKENIZER,
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "vocab.json",
    "merges.txt",
    "tokenizer.model",
    "chat_template.jinja",
    INDEX,
];
const TOKENIZER: &str = "tokenizer.json";
const SINGLE: &str = "model.safetensors";
/// Names the shards.
pub const INDEX: &str = "model.safetensors.index.json";

/// The weights of a model.
#[derive(Debug, PartialEq, Eq)]
pub enum Weights {
    /// One file.
    Single,
    /// The files that its index names.
    Sharded,
}

/// The small files of a model among `files`, and where its weights are; `None` if none are safetensors. One model.safetensors
/// wins over an index, as where it is read. `at`: where they are, for messages.
pub fn weights(files: &[String], at: &str) -> Result<Option<(Vec<String>, Weights)>, InputsError> {
    let has = |name: &str| files.iter().any(|file| file == name);
    let small = || SMALL.iter().filter(|file| has(file)).map(|file| (*file).to_owned());
    if !has("config.json") {
        let expected = "a model of transformers' form, with config.json and safetensors";
        return Err(InputsError::data(Path::new(at), "no config.json", expected));
    }
    // Told before gigabytes have come.
    if (has(SINGLE) || has(INDEX)) && !has(TOKENIZER) {
        let expected =
            "a fast tokenizer, as AutoTokenizer.from_pretrained(…).save_pretrained(FOLDER) writes it";
        return Err(InputsError::data(Path::new(at), format!("no {TOKENIZER}"), expected));
    }
    if has(SINGLE) {
        let small = small().filter(|file| file != INDEX);
        return Ok(Some((small.chain([SINGLE.to_owned()]).collect(), Weights::Single)));
    }
    Ok(has(INDEX).then(|| (small().collect(), Weights::Sharded)))
}

/// A file with weights of another form than safetensors.
pub fn other_weights(files: &[String]) -> Option<&String> {
    files.iter().find(|file| [".bin", ".pt", ".pth"].iter().any(|ending| file.ends_with(ending)))
}

/// The same of a repository of the hub; of weights in another form the error says how to convert them.
pub fn model(listing: &Listing) -> Result<(Vec<String>, Weights), InputsError> {
    let name = listing.repository.name();
    if let Some(found) = weights(&listing.files, &listing.pinned())? {
        return Ok(found);
    }
    let Some(found) = other_weights(&listing.files) else {
        let expected = "model.safetensors, or shards with model.safetensors.index.json";
        return Err(InputsError::data(Path::new(&listing.pinned()), "no weights", expected));
    };
    let revision = Some(listing.revision.as_str()).filter(|revision| *revision != "main");
    Err(convert(name, name, revision, found))
}

/// Weights of another form are refused with the command that converts them. `from`: where transformers finds the model, by name or folder.
pub fn convert(name: &str, from: &str, revision: Option<&str>, found: &str) -> InputsError {
    let at = revision.map(|revision| format!(", revision=\"{revision}\"")).unwrap_or_default();
    let last = from.trim_end_matches('/').rsplit('/').next().unwrap_or(from);
    // Not into the folder that it is made from.
    let to = if from.contains("./") || from.starts_with('/') {
        format!("{last}-safetensors")
    } else {
        last.to_owned()
    };
    InputsError::NotSafetensors {
        name: name.to_owned(),
        found: found.to_owned(),
        command: format!(
            "python3 -c 'from transformers import AutoModelForCausalLM as M, AutoTokenizer as T; n, to = \"{from}\", \"./{to}\"; \
             M.from_pretrained(n, torch_dtype=\"auto\"{at}).save_pretrained(to); T.from_pretrained(n{at}).save_pretrained(to)'"
        ),
    }
}

/// The same of a folder without safetensors that has other weights.
pub fn convert_folder(folder: &Path, name: &str, from: &str) -> Option<InputsError> {
    let entries = std::fs::read_dir(folder).ok()?.flatten();
    let files: Vec<String> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    if files.iter().any(|file| file.ends_with(".safetensors")) {
        return None;
    }
    Some(convert(name, from, None, other_weights(&files)?))
}

/// Refuses a model whose config.json is of no family that is supported, before its weights are fetched.
pub fn supported(at: &str, config: &[u8]) -> Result<(), InputsError> {
    let arch = families::arch(&String::from_utf8_lossy(config));
    arch.map(drop).map_err(|error| InputsError::Model { model: at.to_owned(), why: chain(&error) })
}

/// The shards that an index names; each must be among `files`. `at`: where they are, for messages.
pub fn shards(files: &[String], at: &str, index: &[u8]) -> Result<BTreeSet<String>, InputsError> {
    #[derive(serde::Deserialize)]
    struct Index {
        weight_map: std::collections::BTreeMap<String, String>,
    }
    let at = || format!("{at}/{INDEX}");
    let parsed: Index = serde_json::from_slice(index)
        .map_err(|e| InputsError::data(Path::new(&at()), e.to_string(), "a weight_map"))?;
    let shards: BTreeSet<String> = parsed.weight_map.into_values().collect();
    match shards.iter().find(|shard| !files.contains(shard)) {
        Some(shard) => {
            let found = format!("a shard {shard:?} that is not there");
            Err(InputsError::data(Path::new(&at()), found, "names of files beside it"))
        }
        None => Ok(shards),
    }
}

/// What a dataset's revision has.
#[derive(Debug, PartialEq, Eq)]
pub enum Data {
    /// Files of splits.
    Splits(Vec<String>),
    /// Data files whose names tell no split.
    Unnamed(Vec<String>),
    /// Not the configuration that is wanted, but these.
    Elsewhere(Vec<String>),
    /// Several configurations, and none was named.
    Mixed(Vec<String>),
    /// Nothing: a loading script, as a rule.
    Nothing,
}

/// The data files that a dataset's revision has of a configuration: those that would be read if all of it were here.
pub fn data(listing: &Listing, configuration: &Configuration) -> Data {
    let all = listing.files.iter().map(PathBuf::from).filter(|path| is_data(path)).collect();
    let folder = Path::new("");
    let files = sorted(all, folder, configuration.name());
    let names = |paths: Vec<&PathBuf>| paths.iter().map(|p| p.to_string_lossy().into_owned()).collect();
    match () {
        () if files.is_empty() => Data::Nothing,
        () if lacks(&files, folder, configuration) => {
            Data::Elsewhere(files.configurations(folder).into_iter().collect())
        }
        () if files.mixes(folder) => Data::Mixed(files.configurations(folder).into_iter().collect()),
        () if files.splits.is_empty() => Data::Unnamed(names(files.others.iter().collect())),
        () => Data::Splits(names(files.splits.values().flatten().collect())),
    }
}

/// Folders that are no configuration's.
const NEUTRAL: [&str; 3] = ["", "data", "default"];

/// True if these files, of which there are some, are of another configuration than is wanted.
pub fn lacks(files: &DataFiles, folder: &Path, configuration: &Configuration) -> bool {
    let under = |name: &str| files.all().any(|file| is_under(file, folder, name));
    match configuration {
        Configuration::Only => false,
        Configuration::Named(name) => !under(name),
        Configuration::IfThere(name) => {
            let named = |known: &String| !NEUTRAL.contains(&known.as_str());
            !under(name) && files.configurations(folder).iter().any(named)
        }
    }
}

/// True if the file lies under a folder of this name.
fn is_under(file: &Path, folder: &Path, name: &str) -> bool {
    let inner = file.strip_prefix(folder).unwrap_or(file);
    inner.parent().is_some_and(|parent| parent.iter().any(|part| part == name))
}

/// No such repository, or no such revision of it.
pub fn is_absence(error: &HubError) -> bool {
    matches!(error, HubError::NotFound { .. })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::{Kind, Repository};

    fn listing(files: &[&str]) -> Listing {
        Listing {
            repository: Repository::new(Kind::Model, "org/m").unwrap(),
            revision: "main".to_owned(),
            commit: "c".to_owned(),
            files: files.iter().map(|f| (*f).to_owned()).collect(),
        }
    }

    #[test]
    fn of_a_model_only_what_is_read_is_fetched() {
        let clutter = ["README.md", ".gitattributes", "consolidated.safetensors", "model.fp16.safetensors"];
        let single = listing(
            &[&["config.json", "tokenizer.json", SINGLE, INDEX, "pytorch_model.bin"], &clutter[..]].concat(),
        );
        let (files, weights) = model(&single).unwrap();
        assert_eq!(
            (files.join(" "), weights),
            (format!("config.json tokenizer.json {SINGLE}"), Weights::Single)
        );
        let sharded =
            listing(&[&["config.json", TOKENIZER, INDEX, "x-1.safetensors"], &clutter[..]].concat());
        assert_eq!(model(&sharded).unwrap().1, Weights::Sharded);
        let map = br#"{"weight_map": {"a": "x-1.safetensors", "b": "x-1.safetensors"}}"#;
        assert_eq!(
            shards(&sharded.files, "", map).unwrap().into_iter().collect::<Vec<_>>(),
            ["x-1.safetensors"]
        );
        let absent = br#"{"weight_map": {"a": "../y"}}"#;
        assert!(shards(&sharded.files, "", absent).unwrap_err().to_string().contains("\"../y\""));
    }

    #[test]
    fn weights_of_another_form_are_refused_with_the_command_that_converts_them() {
        let error = model(&listing(&["config.json", "pytorch_model.bin"])).unwrap_err().to_string();
        assert!(error.contains("pytorch_model.bin") && error.contains("save_pretrained(to)"), "{error}");
        let error = model(&listing(&["config.json", SINGLE, "tokenizer.model"])).unwrap_err().to_string();
        assert!(error.contains("found no tokenizer.json, expected a fast tokenizer"), "{error}");
        let error = model(&listing(&["config.json"])).unwrap_err().to_string();
        assert!(error.ends_with(
            "found no weights, expected model.safetensors, or shards with model.safetensors.index.json"
        ));
    }

    #[test]
    fn of_a_dataset_the_wanted_configuration_is_fetched_and_a_script_is_nothing() {
        let wikitext = listing(&[
            "README.md",
            "wikitext-103-v1/test-00000-of-00001.parquet",
            "wikitext-2-raw-v1/test-00000-of-00001.parquet",
        ]);
        let two = Configuration::IfThere("wikitext-2-raw-v1".to_owned());
        assert_eq!(
            data(&wikitext, &two),
            Data::Splits(vec!["wikitext-2-raw-v1/test-00000-of-00001.parquet".to_owned()])
        );
        assert!(matches!(data(&wikitext, &Configuration::Only), Data::Mixed(_)));
        let other = Configuration::IfThere("c4".to_owned());
        assert!(matches!(data(&wikitext, &other), Data::Elsewhere(list) if list.len() == 2));
        let script = listing(&["README.md", "logiqa.py", "dataset_infos.json", ".gitattributes"]);
        assert_eq!(data(&script, &Configuration::Only), Data::Nothing);
        // A layout without configurations serves a task that names one, not a user who does.
        let plain = listing(&["data/test-00000-of-00001.parquet"]);
        assert!(matches!(data(&plain, &other), Data::Splits(_)));
        assert!(matches!(data(&plain, &Configuration::Named("c4".to_owned())), Data::Elsewhere(_)));
    }
}
