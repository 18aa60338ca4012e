//! What the local cache lacks of the hub, as it has to be asked for.

use crate::hub::Kind;

/// The revision at which the hub keeps Parquet exports of datasets.
pub const CONVERTED: &str = "refs/convert/parquet";
/// The branch that is read where nothing is said.
const MAIN: &str = "main";

/// A repository that is not in the cache, or not all of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Lack {
    /// What it holds.
    pub kind: Kind,
    /// Its names; the first one that the hub has is taken.
    pub names: Vec<String>,
    /// The revision that was named.
    pub revision: Option<String>,
    /// Of a dataset the configuration.
    pub configuration: Configuration,
    /// The moving revision that was named, where `revision` is the commit that a sweep keeps of it.
    pub kept: Option<String>,
}

/// Which of a dataset's configurations is meant.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Configuration {
    /// The only one.
    Only,
    /// This one, where the dataset has configurations.
    IfThere(String),
    /// This one: the user named it.
    Named(String),
}

impl Configuration {
    /// Its name.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Only => None,
            Self::IfThere(name) | Self::Named(name) => Some(name),
        }
    }

    /// What the user named, else what the task says.
    pub fn of(named: Option<&str>, task: Option<&str>) -> Self {
        match (named, task) {
            (Some(name), _) => Self::Named(name.to_owned()),
            (None, Some(name)) => Self::IfThere(name.to_owned()),
            (None, None) => Self::Only,
        }
    }
}

impl Lack {
    /// A model.
    pub fn model(name: &str, revision: Option<&str>) -> Self {
        let (names, revision) = (vec![name.to_owned()], revision.map(str::to_owned));
        Self { kind: Kind::Model, names, revision, configuration: Configuration::Only, kept: None }
    }

    /// A dataset under one of these names.
    pub fn dataset(names: &[String], configuration: Configuration, revision: Option<&str>) -> Self {
        let (names, revision) = (names.to_vec(), revision.map(str::to_owned));
        Self { kind: Kind::Dataset, names, revision, configuration, kept: None }
    }

    /// What a resolved sweep calls it under one of its names.
    pub fn key(&self, name: &str) -> String {
        if let Some(kept) = &self.kept {
            return kept.clone();
        }
        let at = |revision: &String| format!("@{revision}");
        match self.kind {
            Kind::Model => format!("hf://{name}@{}", self.revision.as_deref().unwrap_or(MAIN)),
            Kind::Dataset => {
                let configuration = match &self.configuration {
                    Configuration::Named(own) => format!("/{own}"),
                    Configuration::Only | Configuration::IfThere(_) => String::new(),
                };
                let revision = self.revision.as_ref().map(at).unwrap_or_default();
                format!("hf://datasets/{name}{configuration}{revision}")
            }
        }
    }

    /// How to ask again for what was found as this commit under one of the names; `None` if that is always the same.
    pub fn moving(&self, name: &str, commit: &str) -> Option<Self> {
        let moves = self.kept.is_some() || self.revision.as_deref() != Some(commit);
        moves.then(|| Self { names: vec![name.to_owned()], ..self.clone() })
    }

    /// The revisions that may hold it, in order: of a dataset main, or its conversion where main has a loading script only.
    pub fn revisions(&self) -> Vec<&str> {
        match (&self.revision, self.kind) {
            (Some(revision), _) => vec![revision],
            (None, Kind::Model) => vec![MAIN],
            (None, Kind::Dataset) => vec![MAIN, CONVERTED],
        }
    }
}
