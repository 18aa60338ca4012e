//! Where models and datasets are on this machine: a folder, or the local Hugging Face cache. Never fetches anything.

use super::error::InputsError;
use super::read::files::{DataFiles, data_files};
use std::path::{Path, PathBuf};

/// The Hugging Face cache of this machine.
#[derive(Clone, Debug)]
pub struct HubCache {
    root: PathBuf,
}

/// A source found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Located {
    /// Its files.
    pub folder: PathBuf,
    /// The source, with the revision that was found where it has one.
    pub pinned: String,
}

/// The revision at which the hub keeps Parquet exports of datasets.
const CONVERTED: &str = "refs/convert/parquet";

impl HubCache {
    /// The cache that Hugging Face's tools use under this environment; `get` reads one variable.
    pub fn from_env(get: impl Fn(&str) -> Option<String>) -> Self {
        let set = |key: &str| get(key).filter(|v| !v.is_empty()).map(PathBuf::from);
        let root = set("HF_HUB_CACHE")
            .or_else(|| set("HUGGINGFACE_HUB_CACHE"))
            .or_else(|| set("HF_HOME").map(|home| home.join("hub")))
            .or_else(|| set("XDG_CACHE_HOME").map(|cache| cache.join("huggingface/hub")))
            .or_else(|| set("HOME").map(|home| home.join(".cache/huggingface/hub")))
            .unwrap_or_else(|| PathBuf::from(".cache/huggingface/hub"));
        Self { root }
    }

    /// A cache in a known place.
    pub fn at(root: &Path) -> Self {
        Self { root: root.to_owned() }
    }

    /// A model's source: a folder (an absolute path), `hf://org/name[@revision]` or `org/name[@revision]`.
    pub fn model(&self, source: &str) -> Result<Located, InputsError> {
        if source.starts_with('/') {
            let folder = PathBuf::from(source);
            if !folder.is_dir() {
                return Err(InputsError::data(
                    &folder,
                    "no such folder",
                    "a Hugging Face folder with config.json",
                ));
            }
            return Ok(Located { folder, pinned: source.to_owned() });
        }
        if source.starts_with("s3://") {
            let path = Path::new(source);
            return Err(InputsError::data(
                path,
                "a model in an object store",
                "a local folder: copy it to this machine first",
            ));
        }
        let name = source.strip_prefix("hf://").unwrap_or(source);
        let (name, revision) = name.split_once('@').map_or((name, None), |(n, r)| (n, Some(r)));
        let missing = || InputsError::NotCached {
            kind: "model",
            name: source.trim_start_matches("hf://").to_owned(),
            cache: self.root.display().to_string(),
            command: match revision {
                None => format!("hf download {name}"),
                Some(revision) => format!("hf download {name} --revision {revision}"),
            },
        };
        let (folder, sha) = self.snapshot("models", name, revision.unwrap_or("main")).ok_or_else(missing)?;
        if !folder.join("config.json").is_file() {
            return Err(missing());
        }
        Ok(Located { folder, pinned: format!("hf://{name}@{sha}") })
    }

    /// A dataset's data files under the first of its names that is there. `revision`: where its data is if not at main.
    pub fn dataset(
        &self,
        names: &[String],
        config: Option<&str>,
        revision: Option<&str>,
    ) -> Result<(Located, DataFiles), InputsError> {
        for name in names {
            for revision in ["main", CONVERTED] {
                let Some((folder, sha)) = self.snapshot("datasets", name, revision) else {
                    continue;
                };
                // A snapshot may hold nothing but a loading script.
                let files = data_files(&folder, config)?;
                if !files.splits.is_empty() {
                    return Ok((Located { folder, pinned: format!("hf://datasets/{name}@{sha}") }, files));
                }
            }
        }
        let name = names.first().cloned().unwrap_or_default();
        let at = revision.map(|r| format!(" --revision {r}")).unwrap_or_default();
        Err(InputsError::NotCached {
            kind: "dataset",
            cache: self.root.display().to_string(),
            command: format!("hf download {name} --repo-type dataset{at}"),
            name,
        })
    }

    /// The snapshot of a repository at a branch, tag, reference or commit.
    fn snapshot(&self, kind: &str, name: &str, revision: &str) -> Option<(PathBuf, String)> {
        let repository = self.root.join(format!("{kind}--{}", name.replace('/', "--")));
        let refs = repository.join("refs");
        // A reference that is not a branch lies under its full name: refs/refs/convert/parquet.
        let short = revision.strip_prefix("refs/").unwrap_or(revision);
        let named = [revision, short].iter().find_map(|r| std::fs::read_to_string(refs.join(r)).ok());
        let sha = named.map_or_else(|| revision.to_owned(), |text| text.trim().to_owned());
        let folder = repository.join("snapshots").join(&sha);
        folder.is_dir().then_some((folder, sha))
    }
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
            HubCache::from_env(get).root.to_string_lossy().into_owned()
        };
        assert_eq!(root(&[("HF_HUB_CACHE", "/c"), ("HF_HOME", "/h")]), "/c");
        assert_eq!(root(&[("HF_HOME", "/h"), ("HOME", "/root")]), "/h/hub");
        assert_eq!(root(&[("HOME", "/root")]), "/root/.cache/huggingface/hub");
    }

    #[test]
    fn a_model_is_pinned_to_the_commit_that_main_names() {
        let root = tempfile::tempdir().unwrap();
        put(root.path(), "models--org--m/refs/main", "abc123\n");
        put(root.path(), "models--org--m/snapshots/abc123/config.json", "{}");
        let cache = HubCache::at(root.path());
        for source in ["org/m", "hf://org/m", "hf://org/m@abc123"] {
            let found = cache.model(source).unwrap();
            assert_eq!(found.pinned, "hf://org/m@abc123", "{source}");
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
             allenai/cosmos_qa --repo-type dataset --revision refs/convert/parquet"
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
            assert_eq!((found.pinned.as_str(), files.names().as_str()), ("hf://datasets/org/d@bbb", "test"));
        }
    }
}
