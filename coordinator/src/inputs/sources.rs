//! Where models and datasets are on this machine: a folder, the local Hugging Face cache, or the copies of objects. Never fetches
//! anything: see `obtain`.

use super::error::InputsError;
use super::lack::{CONVERTED, Configuration, Lack};
use super::needed::{convert_folder, lacks};
use super::read::files::{DataFiles, data_files};
use super::revisions::Revisions;
use super::stored::is_stored;
use crate::hub::environment::folder;
use crate::objects::{Address, ObjectCache};
use espalier_proto::model_folder::{ModelFilesError, model_files};
use std::path::{Path, PathBuf};

/// The Hugging Face cache of this machine, folders that are looked into in order; and the copies of objects beside it.
#[derive(Clone, Debug)]
pub struct HubCache {
    roots: Vec<PathBuf>,
    objects: ObjectCache,
    revisions: Revisions,
}

/// The copies' folder.
const OBJECTS: &str = "s3";

/// A source found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its files.
    pub folder: PathBuf,
    /// Where they are from.
    pub source: Source,
}

/// Where models and data are from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The source, with the commit that was found where it has one.
    pub pinned: String,
    /// How the hub was asked for it, where the same may be another commit another day.
    pub moving: Option<Lack>,
}

impl Source {
    /// A source that is nothing of the hub.
    pub fn plain(source: &str) -> Self {
        Self { pinned: source.to_owned(), moving: None }
    }

    /// What may move, and the commit that it is now.
    pub fn revision(&self) -> Option<(String, String)> {
        let lack = self.moving.as_ref()?;
        let (_, commit) = self.pinned.rsplit_once('@')?;
        Some((lack.key(lack.names.first()?), commit.to_owned()))
    }
}

impl HubCache {
    /// The cache that Hugging Face's tools use under this environment; `get` reads one variable.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Self {
        let said = |key: &str| get(key).filter(|v| !v.is_empty());
        let set = |key: &str| folder(&said, key);
        let root = set("HF_HUB_CACHE")
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/huggingface/hub")))
            .unwrap_or_else(|| PathBuf::from(".cache/huggingface/hub"));
        let own = set("XDG_CACHE_HOME").or_else(|| set("HOME").map(|home| home.join(".cache")));
        let own = own.unwrap_or_else(|| PathBuf::from(".cache")).join("espalier");
        Self {
            roots: vec![root],
            objects: ObjectCache::at(own.join(OBJECTS)),
            revisions: Revisions::default(),
        }
    }

    /// A cache in a known place.
    pub fn at(root: &Path) -> Self {
        let objects = ObjectCache::at(root.join(OBJECTS));
        Self { roots: vec![root.to_owned()], objects, revisions: Revisions::default() }
    }

    /// The same, with another folder that is looked into first and fetched into.
    pub fn with_first(mut self, root: &Path) -> Self {
        self.roots.insert(0, root.to_owned());
        self.objects = ObjectCache::at(root.join(OBJECTS));
        self
    }

    /// The same, where moving revisions are these.
    pub fn with_revisions(mut self, revisions: Revisions) -> Self {
        self.revisions = revisions;
        self
    }

    /// What moving revisions are.
    pub fn revisions(&self) -> &Revisions {
        &self.revisions
    }

    /// The copies of objects.
    pub fn objects(&self) -> &ObjectCache {
        &self.objects
    }

    /// The folder that fetched files go to.
    pub fn root(&self) -> &Path {
        self.roots.first().expect("it is made with one")
    }

    /// How many models are in it, whole or not.
    pub fn models(&self) -> usize {
        let entries = self.roots.iter().filter_map(|root| std::fs::read_dir(root).ok()).flatten().flatten();
        entries.filter(|entry| entry.file_name().to_string_lossy().starts_with("models--")).count()
    }

    /// Its folders, for messages.
    pub fn shown(&self) -> String {
        self.roots.iter().map(|root| root.display().to_string()).collect::<Vec<_>>().join(" or ")
    }

    /// Where data is that a path or an address of an object store names; `None` if it is a dataset of the hub.
    pub fn data(&self, source: &str) -> Result<Option<PathBuf>, InputsError> {
        match source.starts_with('/') {
            true => Ok(Some(PathBuf::from(source))),
            false => is_stored(source).then(|| self.copy(source)).transpose(),
        }
    }

    /// The copy of what lies at an address.
    fn copy(&self, source: &str) -> Result<PathBuf, InputsError> {
        let address = Address::parse(source)?;
        self.objects.find(&address).ok_or_else(|| {
            let found = format!("no copy of it in {}", self.objects.root().display());
            InputsError::data(Path::new(source), found, "one that was fetched before it is read")
        })
    }

    /// A model's source: a folder (an absolute path), `s3://bucket/prefix`, `hf://org/name[@revision]` or `org/name[@revision]`.
    pub fn model(&self, source: &str) -> Result<Located, InputsError> {
        if source.starts_with('/') {
            let folder = PathBuf::from(source);
            if !folder.is_dir() {
                let expected = "a Hugging Face folder with config.json";
                return Err(InputsError::data(&folder, "no such folder", expected));
            }
            let located = Located { folder: folder.clone(), source: Source::plain(source) };
            return convert_folder(&folder, source, source).map_or(Ok(located), Err);
        }
        if is_stored(source) {
            let plain = Source::plain(source.trim_end_matches('/'));
            return Ok(Located { folder: self.copy(source)?, source: plain });
        }
        let name = source.strip_prefix("hf://").unwrap_or(source);
        let (name, revision) = name.split_once('@').map_or((name, None), |(n, r)| (n, Some(r)));
        let lack = self.revisions.kept(Lack::model(name, revision));
        let missing = |part: &str| {
            let at = lack.revision.as_ref();
            let error = InputsError::NotCached {
                kind: "model",
                name: format!("{name}{}{part}", at.map(|r| format!("@{r}")).unwrap_or_default()),
                cache: self.shown(),
                command: match at {
                    None => format!("hf download {name}"),
                    Some(revision) => format!("hf download {name} --revision {revision}"),
                },
                lack: lack.clone(),
            };
            error.of(&lack)
        };
        let found = self.snapshot("models", name, lack.revisions()[0]);
        let (folder, sha) = found.ok_or_else(|| missing(""))?;
        if let Err(ModelFilesError::Missing { file, .. }) = model_files(&folder) {
            let part = || missing(&format!(" (of which only a part is here: no {file})"));
            return Err(convert_folder(&folder, name, name).unwrap_or_else(part));
        }
        let moving = lack.moving(name, &sha);
        Ok(Located { folder, source: Source { pinned: format!("hf://{name}@{sha}"), moving } })
    }

    /// A catalog task's data files under the first of its names that is there. `revision`: where its data is if not at main.
    pub fn dataset(
        &self,
        names: &[String],
        config: Option<&str>,
        revision: Option<&str>,
    ) -> Result<(Located, DataFiles), InputsError> {
        let lack = self.revisions.kept(Lack::dataset(names, Configuration::of(None, config), None));
        let mut other = None;
        for name in &lack.names {
            match self.data_of(name, &lack) {
                Ok(Some(found)) => return Ok(found),
                Ok(None) => {}
                Err(error @ InputsError::NoConfiguration { .. }) => drop(other.get_or_insert(error)),
                Err(error) => return Err(error),
            }
        }
        let name = lack.names.first().cloned().unwrap_or_default();
        Err(other.unwrap_or_else(|| self.no_dataset(&name, &name, revision, lack)))
    }

    /// The data files of a dataset that the user names: `org/name[@revision]`, `hf://org/name[/configuration][@revision]`.
    /// Without a revision: main, or its conversion to Parquet where main has a loading script only. `config`: one that is taken
    /// where it is there.
    pub fn named_dataset(
        &self,
        source: &str,
        config: Option<&str>,
    ) -> Result<(Located, DataFiles), InputsError> {
        let said = source.strip_prefix("hf://").unwrap_or(source);
        let (path, revision) = said.split_once('@').map_or((said, None), |(n, r)| (n, Some(r)));
        let path = path.strip_prefix("datasets/").unwrap_or(path);
        let parts: Vec<&str> = path.split('/').collect();
        let known = !said.contains("://") && parts.iter().all(|part| !part.is_empty());
        let (name, own) = match parts[..] {
            [name] if known => (name.to_owned(), None),
            [org, name] if known => (format!("{org}/{name}"), None),
            [org, name, own] if known => (format!("{org}/{name}"), Some(own)),
            _ => {
                let expected = "a file, a folder, s3://bucket/path, or a dataset: org/name or hf://org/name[/configuration][@revision]";
                return Err(InputsError::data(Path::new(source), "no such source", expected));
            }
        };
        let lack = Lack::dataset(std::slice::from_ref(&name), Configuration::of(own, config), revision);
        let lack = self.revisions.kept(lack);
        self.data_of(&name, &lack)?.ok_or_else(|| {
            let here = !source.starts_with("hf://");
            let shown =
                if here { format!("{said}, no file or folder here either,") } else { said.to_owned() };
            self.no_dataset(&name, &shown, revision, lack)
        })
    }

    /// Data of a dataset at the first of the revisions that holds any.
    fn data_of(&self, name: &str, lack: &Lack) -> Result<Option<(Located, DataFiles)>, InputsError> {
        let (mut unnamed, mut other) = (None, None);
        for revision in lack.revisions() {
            let Some((folder, sha)) = self.snapshot("datasets", name, revision) else {
                continue;
            };
            let files = data_files(&folder, lack.configuration.name())?;
            let several = files.configurations(&folder);
            if !files.is_empty() && lacks(&files, &folder, &lack.configuration) {
                other.get_or_insert(InputsError::NoConfiguration {
                    folder: folder.display().to_string(),
                    wanted: lack.configuration.name().unwrap_or_default().to_owned(),
                    known: several.into_iter().collect::<Vec<_>>().join(", "),
                    lack: lack.clone(),
                });
                continue;
            }
            if files.mixes(&folder) {
                let list: Vec<&str> = several.iter().map(String::as_str).collect();
                return Err(InputsError::data(
                    &folder,
                    format!("configurations {}", list.join(", ")),
                    format!("one of them: hf://{name}/CONFIGURATION"),
                ));
            }
            let pinned = match &lack.configuration {
                Configuration::Named(own) => format!("hf://datasets/{name}/{own}@{sha}"),
                Configuration::Only | Configuration::IfThere(_) => format!("hf://datasets/{name}@{sha}"),
            };
            let located = Located { folder, source: Source { pinned, moving: lack.moving(name, &sha) } };
            // A snapshot may hold nothing but a loading script.
            match files.is_empty() {
                false if !files.splits.is_empty() => return Ok(Some((located, files))),
                false => drop(unnamed.get_or_insert((located, files))),
                true => {}
            }
        }
        match (unnamed, other) {
            (None, Some(error)) => Err(error),
            (unnamed, _) => Ok(unnamed),
        }
    }

    fn no_dataset(&self, name: &str, shown: &str, revision: Option<&str>, lack: Lack) -> InputsError {
        // Of a dataset whose main is here without data the conversion is what lacks.
        let script = revision.is_none() && self.snapshot("datasets", name, "main").is_some();
        let kept = lack.revision.as_deref().filter(|_| lack.kept.is_some());
        let shown = kept.map_or_else(|| shown.to_owned(), |commit| format!("{name}@{commit}"));
        let at = kept.or(revision).or(script.then_some(CONVERTED));
        let at = at.map(|r| format!(" --revision {r}")).unwrap_or_default();
        let error = InputsError::NotCached {
            kind: "dataset",
            name: shown,
            cache: self.shown(),
            command: format!("hf download --repo-type dataset {name}{at}"),
            lack: lack.clone(),
        };
        error.of(&lack)
    }

    /// The snapshot of a repository at a branch, tag, reference or commit.
    fn snapshot(&self, kind: &str, name: &str, revision: &str) -> Option<(PathBuf, String)> {
        self.roots.iter().find_map(|root| snapshot_in(root, kind, name, revision))
    }
}

fn snapshot_in(root: &Path, kind: &str, name: &str, revision: &str) -> Option<(PathBuf, String)> {
    let repository = root.join(format!("{kind}--{}", name.replace('/', "--")));
    let refs = repository.join("refs");
    // A reference that is not a branch lies under its full name: refs/refs/convert/parquet.
    let short = revision.strip_prefix("refs/").unwrap_or(revision);
    let named = [revision, short].iter().find_map(|r| std::fs::read_to_string(refs.join(r)).ok());
    let sha = named.map_or_else(|| revision.to_owned(), |text| text.trim().to_owned());
    let folder = repository.join("snapshots").join(&sha);
    folder.is_dir().then_some((folder, sha))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    #[test]
    fn the_cache_is_where_hugging_faces_tools_look() {
        let root = |pairs: &[(&str, &str)]| {
            let get = |key: &str| pairs.iter().find(|(k, _)| *k == key).map(|(_, v)| (*v).to_owned());
            HubCache::from_env(get).shown()
        };
        assert_eq!(root(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), "/c");
        assert_eq!(root(&[("HF_HOME", "/h"), ("HOME", "/root")]), "/h/hub");
        assert_eq!(root(&[("HF_HOME", "~/h"), ("HOME", "/root")]), "/root/h/hub");
        assert_eq!(root(&[("HOME", "/root")]), "/root/.cache/huggingface/hub");
    }

    #[test]
    fn a_model_is_pinned_to_the_commit_that_main_names() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "models--org--m/refs/main", "abc123\n");
        put(root.path(), "models--org--m/snapshots/abc123/config.json", "{}");
        let cache = HubCache::at(root.path());
        let part = cache.model("org/m").unwrap_err().to_string();
        assert!(part.contains("no model.safetensors") && part.contains("hf download org/m"), "{part}");
        put(root.path(), "models--org--m/snapshots/abc123/model.safetensors", "");
        for source in ["org/m", "hf://org/m", "hf://org/m@abc123"] {
            let found = cache.model(source).unwrap();
            assert_eq!(found.source.pinned, "hf://org/m@abc123", "{source}");
            assert!(found.folder.ends_with("models--org--m/snapshots/abc123"));
        }
    }

    #[test]
    fn what_is_not_there_says_how_to_get_it() {
        let cache = HubCache::at(Path::new("/nowhere/hub"));
        assert_eq!(
            cache.model("microsoft/phi-2").unwrap_err().to_string(),
            "model microsoft/phi-2 is not in the Hugging Face cache /nowhere/hub; get it there with: hf download microsoft/phi-2"
        );
        let error = cache.dataset(&["allenai/cosmos_qa".to_owned()], None, Some(CONVERTED)).unwrap_err();
        assert_eq!(
            error.to_string(),
            "dataset allenai/cosmos_qa is not in the Hugging Face cache /nowhere/hub; get it there with: hf download \
             --repo-type dataset allenai/cosmos_qa --revision refs/convert/parquet"
        );
    }

    #[test]
    fn a_dataset_whose_main_holds_only_a_script_is_read_where_it_was_converted() {
        for reference in ["refs/convert/parquet", "refs/refs/convert/parquet"] {
            let root = tempfile::tempdir().unwrap();
            put(root.path(), "datasets--org--d/refs/main", "aaa");
            put(root.path(), "datasets--org--d/snapshots/aaa/d.py", "");
            put(root.path(), &format!("datasets--org--d/{reference}"), "bbb");
            put(root.path(), "datasets--org--d/snapshots/bbb/default/test/0000.parquet", "");
            let (found, files) =
                HubCache::at(root.path()).dataset(&["org/d".to_owned()], None, None).unwrap();
            assert_eq!(
                (found.source.pinned.as_str(), files.names().as_str()),
                ("hf://datasets/org/d@bbb", "test")
            );
        }
    }

    #[test]
    fn another_configuration_than_the_tasks_is_never_read_in_its_place() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "datasets--org--d/refs/main", "aaa");
        put(root.path(), "datasets--org--d/snapshots/aaa/large/test-00000-of-00001.parquet", "");
        let cache = HubCache::at(root.path());
        let error = cache.dataset(&["org/d".to_owned()], Some("small"), None).unwrap_err();
        assert!(error.lack().is_some());
        let error = error.to_string();
        assert!(error.ends_with("found no configuration small, expected one of large"), "{error}");
        put(root.path(), "datasets--org--d/snapshots/aaa/small/test-00000-of-00001.parquet", "");
        let (_, files) = cache.dataset(&["org/d".to_owned()], Some("small"), None).unwrap();
        assert_eq!(files.all().count(), 1);
    }
}
