//! `--only model=…,sparsity=…`: which part of a grid a command is about. What the sweep is does not change.

use super::complaint::{did_you_mean, one_of};
use super::file::SweepFile;
use espalier_proto::sweep::VariantEntry;
use std::collections::{BTreeMap, BTreeSet};

const KEYS: [&str; 6] = ["model", "method", "sparsity", "variant", "seed", "task"];

/// A choice of cells. Values of one key are alternatives; different keys must all hold. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Only(BTreeMap<&'static str, Vec<String>>);

/// A choice that cannot be read.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("--only: found {found}, expected {expected}")]
pub struct OnlyError {
    /// What was found.
    pub found: String,
    /// What was expected.
    pub expected: String,
}

impl std::str::FromStr for Only {
    type Err = OnlyError;

    fn from_str(text: &str) -> Result<Self, OnlyError> {
        let pair = || "KEY=VALUE, such as model=phi-2,sparsity=0.5".to_owned();
        let mut choice = BTreeMap::<_, Vec<String>>::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let Some((key, value)) = part.split_once('=') else {
                return Err(OnlyError { found: part.to_owned(), expected: pair() });
            };
            let Some(known) = KEYS.iter().find(|k| **k == key) else {
                let expected = format!("{}{}", one_of(&KEYS), did_you_mean(key, &KEYS));
                return Err(OnlyError { found: key.to_owned(), expected });
            };
            choice.entry(*known).or_default().push(value.to_owned());
        }
        if choice.is_empty() {
            // A script's empty variable is not to ask for everything, or stop it.
            return Err(OnlyError { found: "nothing".to_owned(), expected: pair() });
        }
        Ok(Self(choice))
    }
}

impl std::fmt::Display for Only {
    /// As it is given on the command line.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let pairs = self.0.iter().flat_map(|(key, values)| values.iter().map(move |v| format!("{key}={v}")));
        f.write_str(&pairs.collect::<Vec<_>>().join(","))
    }
}

impl Only {
    /// Both choices at once: `--only` given twice.
    pub fn and(mut self, other: &Self) -> Self {
        for (key, values) in &other.0 {
            self.0.entry(key).or_default().extend(values.iter().cloned());
        }
        self
    }

    /// Refuses models and methods that the file does not have: what can be told before anything is fetched.
    pub fn check(&self, file: &SweepFile) -> Result<(), OnlyError> {
        let models = file.models.iter().map(|model| model.id.as_str()).collect();
        let methods = file.recipes.iter().flat_map(|recipe| &recipe.methods).map(String::as_str);
        let methods = methods.chain(["dense"]).collect::<BTreeSet<_>>().into_iter().collect();
        let known: [(&str, Vec<&str>); 2] = [("model", models), ("method", methods)];
        for (key, known) in known {
            let said = self.0.get(key).into_iter().flatten();
            if let Some(value) = said.into_iter().find(|value| !known.contains(&value.as_str())) {
                let expected = format!("{}{}", one_of(&known), did_you_mean(value, &known));
                return Err(OnlyError { found: format!("{key}={value}"), expected });
            }
        }
        Ok(())
    }

    /// True if nothing is left out.
    pub fn is_all(&self) -> bool {
        self.0.is_empty()
    }

    /// True if the variant is chosen, whatever its tasks.
    pub fn has_variant(&self, variant: &VariantEntry) -> bool {
        let seed = variant.seed.map(|s| s.to_string());
        self.has("model", Some(&variant.model))
            && self.has("method", Some(&variant.spec.method))
            && self.has("sparsity", Some(&variant.sparsity))
            && self.has("variant", Some(&variant.name))
            && self.has("seed", seed.as_deref())
    }

    /// True if the task of this label is chosen: `logiqa` chooses `logiqa/cloze` too.
    pub fn has_task(&self, label: &str) -> bool {
        let name = label.split(['/', '@']).next().unwrap_or(label);
        self.has("task", Some(label)) || self.has("task", Some(name))
    }

    fn has(&self, key: &str, value: Option<&str>) -> bool {
        self.0.get(key).is_none_or(|chosen| value.is_some_and(|v| chosen.iter().any(|c| c == v)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_of_a_key_are_alternatives_and_keys_hold_together() {
        let only: Only = "task=logiqa,task=wikitext2@4096".parse().unwrap();
        assert!(only.has_task("logiqa") && only.has_task("logiqa/cloze") && only.has_task("wikitext2@4096"));
        assert!(!only.has_task("wikitext2") && !only.has_task("reclor"));
        assert_eq!(only.to_string().parse(), Ok(only));
        assert!(Only::default().is_all() && Only::default().has_task("reclor"));
    }

    #[test]
    fn an_unknown_key_names_the_nearest() {
        let error = "modle=phi".parse::<Only>().unwrap_err().to_string();
        assert!(error.ends_with("(did you mean model?)"), "{error}");
    }
}
