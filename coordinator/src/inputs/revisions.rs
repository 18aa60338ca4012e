//! What `main` and other moving revisions of the hub are, for one sweep. Pure.
//!
//! In: what is asked of the hub. Out: the same, or the commit that the sweep keeps of it.

use super::lack::Lack;
use std::collections::BTreeMap;

/// What moving revisions are.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Revisions {
    /// These are the commits that the sweep was resolved to before; others are what the cache has, else the hub.
    Kept(BTreeMap<String, String>),
    /// All of them are what the hub has now.
    Anew,
}

impl Default for Revisions {
    fn default() -> Self {
        Self::Kept(BTreeMap::new())
    }
}

impl Revisions {
    /// Commits that are kept, by [`Lack::key`].
    pub fn known(&self) -> BTreeMap<String, String> {
        match self {
            Self::Kept(known) => known.clone(),
            Self::Anew => BTreeMap::new(),
        }
    }

    /// What is asked for where a commit of it is kept: of the first name that has one that commit.
    pub fn kept(&self, lack: Lack) -> Lack {
        let Self::Kept(known) = self else { return lack };
        let found = lack.names.iter().find_map(|name| {
            let key = lack.key(name);
            Some((name.clone(), known.get(&key)?.clone(), key))
        });
        match found {
            Some((name, commit, key)) => {
                Lack { names: vec![name], revision: Some(commit), kept: Some(key), ..lack }
            }
            None => lack,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inputs::lack::Configuration;
    use crate::inputs::sources::HubCache;
    use std::path::Path;

    fn kept(pairs: &[(&str, &str)]) -> Revisions {
        Revisions::Kept(pairs.iter().map(|(key, commit)| ((*key).to_owned(), (*commit).to_owned())).collect())
    }

    fn revision(revisions: &Revisions, lack: Lack) -> Option<String> {
        revisions.kept(lack).revision
    }

    #[test]
    fn a_moving_revision_is_the_commit_that_is_kept_and_any_other_what_it_was_asked_as() {
        let revisions = kept(&[("hf://org/m@main", "c1"), ("hf://org/m@v2", "c2")]);
        let asked = |said| revision(&revisions, Lack::model("org/m", said));
        assert_eq!(asked(None).as_deref(), Some("c1"));
        assert_eq!(asked(Some("main")).as_deref(), Some("c1"), "main is what is read where nothing is said");
        assert_eq!(asked(Some("v2")).as_deref(), Some("c2"));
        assert_eq!(asked(Some("v3")).as_deref(), Some("v3"));
        assert_eq!(asked(Some("c9")).as_deref(), Some("c9"));
        assert_eq!(revision(&revisions, Lack::model("org/other", None)), None);
        assert_eq!(revision(&Revisions::Anew, Lack::model("org/m", Some("v2"))).as_deref(), Some("v2"));
    }

    #[test]
    fn a_dataset_is_kept_by_its_configuration_and_under_the_name_that_was_found() {
        let revisions = kept(&[
            ("hf://datasets/org/d/en", "c1"),
            ("hf://datasets/org/d@v1", "c2"),
            ("hf://datasets/second/d", "c3"),
        ]);
        let of = |names: &[&str], configuration: Configuration, said: Option<&str>| {
            let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
            revisions.kept(Lack::dataset(&names, configuration, said))
        };
        let named = |name: &str| Configuration::Named(name.to_owned());
        assert_eq!(of(&["org/d"], named("en"), None).revision.as_deref(), Some("c1"));
        // The task's own configuration, where there is one, is nothing that the user wrote.
        let own = Configuration::IfThere("en".to_owned());
        assert_eq!(of(&["second/d"], own, None).revision.as_deref(), Some("c3"));
        assert_eq!(of(&["org/d"], named("zh"), None).revision, None);
        assert_eq!(of(&["org/d"], Configuration::Only, Some("v1")).revision.as_deref(), Some("c2"));
        assert_eq!(of(&["org/d"], named("en"), Some("v1")).revision.as_deref(), Some("v1"));
        let second = of(&["first/d", "second/d"], Configuration::Only, None);
        assert_eq!((second.names[0].as_str(), second.revision.as_deref()), ("second/d", Some("c3")));
    }

    #[test]
    fn the_cache_gives_the_commit_that_is_kept_whatever_its_main_is_now() {
        let root = tempfile::tempdir().unwrap();
        let put = |path: &str, text: &str| {
            let path = root.path().join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        };
        for commit in ["c1", "c2"] {
            put(&format!("models--org--m/snapshots/{commit}/config.json"), "{}");
            put(&format!("models--org--m/snapshots/{commit}/model.safetensors"), "");
        }
        put("models--org--m/refs/main", "c2");
        let found = |revisions| HubCache::at(root.path()).with_revisions(revisions).model("org/m");
        let pin = ("hf://org/m@main".to_owned(), "c1".to_owned());
        let old = found(kept(&[(&pin.0, &pin.1)])).unwrap().source;
        assert_eq!((old.pinned.as_str(), old.revision()), ("hf://org/m@c1", Some(pin)), "it stays kept");
        assert_eq!(found(Revisions::Anew).unwrap().source.pinned, "hf://org/m@c2");
        let gone = found(kept(&[("hf://org/m@main", "c0")])).unwrap_err();
        assert_eq!(gone.lack().and_then(|lack| lack.revision.as_deref()), Some("c0"));
        let gone = gone.to_string().replace(&root.path().display().to_string(), "hub");
        assert_eq!(
            gone,
            "model org/m@c0 is not in the Hugging Face cache hub; get it there with: hf download org/m --revision c0; the \
             sweep keeps this commit of hf://org/m@main since it was first resolved: run or submit it with --update to take \
             what hf://org/m@main is now"
        );
        let fixed = HubCache::at(root.path()).model("org/m@c1").unwrap().source;
        assert_eq!(fixed.revision(), None, "a commit does not move");
        assert_eq!(HubCache::at(Path::new("/nowhere")).revisions(), &Revisions::default());
    }
}
