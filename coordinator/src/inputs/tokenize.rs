//! Texts → token ids, as Hugging Face's fast tokenizers give them, with the BOS rule that the sweep asks for.

use super::error::InputsError;
use super::read::records::read_written;
use crate::caught::caught;
use espalier_proto::small_file::{self, MOST_TOKENIZER};
use serde_json::Value;
use std::path::Path;

/// A model's tokenizer under one BOS rule.
pub struct TextTokenizer {
    inner: tokenizers::Tokenizer,
    rule: BosRule,
    bos: Option<Special>,
    eos: Option<Special>,
    file: String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum BosRule {
    /// What tokenizer.json's post-processor does.
    Own,
    /// Exactly one BOS before every text.
    Always,
    /// No special token at all.
    Never,
}

#[derive(Clone)]
struct Special {
    text: String,
    id: u32,
}

impl TextTokenizer {
    /// Opens the tokenizer of a model's folder. `add_bos`: `None` leaves it to tokenizer.json.
    pub fn open(folder: &Path, add_bos: Option<bool>) -> Result<Self, InputsError> {
        let file = folder.join("tokenizer.json");
        let bad = |why: String| InputsError::Tokenizer { file: file.display().to_string(), why };
        if !file.is_file() {
            return Err(bad(
                "found no such file, expected a fast tokenizer beside config.json (save it with \
                            transformers' AutoTokenizer.save_pretrained)"
                    .to_owned(),
            ));
        }
        let bytes = small_file::read(&file, MOST_TOKENIZER).map_err(|e| InputsError::io(&file, e))?;
        Self::parse(&file, &bytes, &config(folder)?, add_bos)
    }

    /// The tokenizer that these bytes of `file` are, with tokenizer_config.json beside it.
    pub fn parse(
        file: &Path,
        bytes: &[u8],
        config: &Value,
        add_bos: Option<bool>,
    ) -> Result<Self, InputsError> {
        let bad = |why: String| InputsError::Tokenizer { file: file.display().to_string(), why };
        let read = caught(|| tokenizers::Tokenizer::from_bytes(bytes).map_err(|e| e.to_string())).flatten();
        let mut inner = read.map_err(|e| {
            let kind = kind_of(bytes).map_or(String::new(), |kind| format!(" of type {kind}"));
            bad(format!(
                "found no tokenizer{kind} that can be read ({e}), expected a model of type {}",
                KINDS.join(", ")
            ))
        })?;
        // Both stand in files of tokenizers that were saved in the middle of training; transformers ignores them too.
        inner.with_truncation(None).map_err(|e| bad(e.to_string()))?;
        inner.with_padding(None);
        let special = |key: &str| {
            let text = match config.get(key)? {
                Value::String(text) => text.clone(),
                Value::Object(token) => token.get("content")?.as_str()?.to_owned(),
                _ => return None,
            };
            inner.token_to_id(&text).map(|id| Special { text, id })
        };
        let (bos, eos) = (special("bos_token"), special("eos_token"));
        let rule = match add_bos {
            None => BosRule::Own,
            Some(true) => BosRule::Always,
            Some(false) => BosRule::Never,
        };
        if rule == BosRule::Always && bos.is_none() {
            return Err(bad(
                "found no bos_token in tokenizer_config.json, expected one because of add_bos: true"
                    .to_owned(),
            ));
        }
        Ok(Self { inner, rule, bos, eos, file: file.display().to_string() })
    }

    /// Ids of a text with the BOS rule applied. A text that begins with the BOS's own text gets no second one, as in
    /// lm-evaluation-harness.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, InputsError> {
        let has_bos =
            self.bos.as_ref().is_some_and(|bos| !bos.text.is_empty() && text.starts_with(&bos.text));
        match self.rule {
            BosRule::Own => self.ids(text, !has_bos),
            BosRule::Never => self.ids(text, false),
            BosRule::Always => {
                let mut ids = self.ids(text, false)?;
                if let Some(bos) = &self.bos
                    && ids.first() != Some(&bos.id)
                {
                    ids.insert(0, bos.id);
                }
                Ok(ids)
            }
        }
    }

    /// Ids of a text alone.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, InputsError> {
        self.ids(text, false)
    }

    /// What stands for an empty context: BOS, else EOS.
    pub fn prefix(&self) -> Result<u32, InputsError> {
        self.bos.as_ref().or(self.eos.as_ref()).map(|s| s.id).ok_or_else(|| InputsError::Tokenizer {
            file: self.file.clone(),
            why: "found neither bos_token nor eos_token in tokenizer_config.json, expected one to stand for an empty context"
                .to_owned(),
        })
    }

    /// True if the rule puts a BOS before texts.
    pub fn adds_bos(&self) -> Result<bool, InputsError> {
        let Some(bos) = &self.bos else { return Ok(false) };
        Ok(self.encode("a")?.first() == Some(&bos.id))
    }

    fn ids(&self, text: &str, special: bool) -> Result<Vec<u32>, InputsError> {
        let encoded = caught(|| self.inner.encode_fast(text, special).map_err(|e| e.to_string())).flatten();
        let encoding = encoded.map_err(|e| InputsError::Tokenizer {
            file: self.file.clone(),
            why: format!("cannot tokenise: {e}"),
        })?;
        Ok(encoding.get_ids().to_vec())
    }
}

/// What kinds of tokenizer the tokenizers crate reads.
const KINDS: [&str; 4] = ["BPE", "Unigram", "WordPiece", "WordLevel"];

/// The kind that the file says of itself, if it is another one.
fn kind_of(bytes: &[u8]) -> Option<String> {
    let whole: Value = serde_json::from_slice(bytes).ok()?;
    let kind = whole["model"]["type"].as_str()?;
    (!KINDS.contains(&kind)).then(|| kind.to_owned())
}

/// tokenizer_config.json, empty if there is none.
fn config(folder: &Path) -> Result<Value, InputsError> {
    let file = folder.join("tokenizer_config.json");
    if !file.is_file() {
        return Ok(Value::Object(serde_json::Map::new()));
    }
    serde_json::from_str(&read_written(&file)?)
        .map_err(|e| InputsError::data(&file, format!("no JSON ({e})"), "a JSON object"))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn golden(name: &str) -> std::path::PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/scoring").join(name)
    }

    #[test]
    fn the_bos_rule_is_the_tokenizers_own_unless_the_sweep_says_otherwise() {
        let ids = |name, rule| TextTokenizer::open(&golden(name), rule).unwrap().encode("The lamp").unwrap();
        let (own, always, never) =
            (ids("llama-bos", None), ids("llama-bos", Some(true)), ids("llama-bos", Some(false)));
        assert_eq!(own, always);
        assert_eq!(own[1..], never);
        assert_eq!(ids("phi-nobos", None), ids("phi-nobos", Some(false)));
    }

    #[test]
    fn a_folder_without_tokenizer_says_how_to_make_one() {
        let folder = tempfile::tempdir().unwrap();
        let error = TextTokenizer::open(folder.path(), None).err().unwrap().to_string();
        assert!(error.contains("tokenizer.json: found no such file, expected a fast tokenizer"), "{error}");
    }

    #[test]
    fn a_file_at_which_the_tokenizers_crate_panics_is_refused() {
        let golden = std::fs::read_to_string(golden("phi-nobos").join("tokenizer.json")).unwrap();
        let start = golden.find("\"decoder\": {").expect("a decoder") + "\"decoder\": {".len();
        // Text inside the decoder that ends in the middle.
        let cut = format!("{}\"type\": \"Byte", &golden[..start]);
        let parsed = TextTokenizer::parse(Path::new("t/tokenizer.json"), cut.as_bytes(), &Value::Null, None);
        let error = parsed.err().unwrap().to_string();
        assert!(error.starts_with("t/tokenizer.json: found no tokenizer that can be read"), "{error}");
    }

    #[test]
    fn an_unknown_tokenizer_is_refused_by_its_file() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("tokenizer.json"), "{\"model\": {\"type\": \"Mystery\"}}").unwrap();
        let error = TextTokenizer::open(folder.path(), None).err().unwrap().to_string();
        assert!(
            error.contains("tokenizer.json: found no tokenizer of type Mystery that can be read"),
            "{error}"
        );
    }
}
