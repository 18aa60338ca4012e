//! What a sweep reads from object stores: which objects of an address, looked up first and fetched when all else can be had too.

use super::error::InputsError;
use super::needed::{self, Weights};
use super::read::files::is_data;
use super::sources::HubCache;
use crate::hub::fetch::Fetching;
use crate::objects::cache::Form;
use crate::objects::{Address, Object, ObjectError, Store};
use std::path::Path;

/// What is read from an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holds {
    /// A model's folder.
    Model,
    /// A file of data, or a folder with such files.
    Data,
}

/// An address that the sweep names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stored {
    /// `s3://…`.
    pub url: String,
    /// What it should hold.
    pub holds: Holds,
}

/// Objects of one address that are to be fetched.
pub struct Order {
    address: Address,
    store: Store,
    objects: Vec<Object>,
    form: Form,
}

const MODEL: &str =
    "config.json, tokenizer.json and model.safetensors, or its index and shards, right under the address";
const DATA: &str = "a data file (Parquet, JSON, CSV or text), or such files under the address";
/// More files than this in one data folder are a slip.
const MOST: usize = 10_000;

/// True for what is read from an object store.
pub fn is_stored(source: &str) -> bool {
    source.starts_with("s3://")
}

impl Stored {
    /// What an address is asked for; `None` if `source` is no address of an object store.
    pub fn of(source: &str, holds: Holds) -> Option<Self> {
        is_stored(source).then(|| Self { url: source.to_owned(), holds })
    }

    /// Looks it up; of a sharded model this fetches the index, which names the shards.
    pub async fn order(&self, cache: &HubCache) -> Result<Order, InputsError> {
        let address = Address::parse(&self.url)?;
        let store = Store::open(&address)?;
        match self.holds {
            Holds::Model => {
                let mut objects = store.list(&address, MODEL).await?;
                let names: Vec<String> = objects.iter().map(|o| o.name.clone()).collect();
                if names.is_empty() {
                    return Err(absent(&address, MODEL));
                }
                let wanted = model(&address, &store, &objects, &names, cache).await?;
                objects.retain(|object| wanted.contains(&object.name));
                Ok(Order { address, store, objects, form: Form::Folder })
            }
            Holds::Data => {
                let (objects, form) = data(&address, &store).await?;
                Ok(Order { address, store, objects, form })
            }
        }
    }
}

fn absent(address: &Address, expected: &'static str) -> InputsError {
    ObjectError::Absent { url: address.url().to_owned(), expected }.into()
}

/// The data files under an address; where nothing is under it, the object that it names.
async fn data(address: &Address, store: &Store) -> Result<(Vec<Object>, Form), InputsError> {
    let mut objects = store.list(address, DATA).await?;
    if objects.is_empty() {
        let lone = store.lone(address, DATA).await?;
        return lone.map(|object| (vec![object], Form::File)).ok_or_else(|| absent(address, DATA));
    }
    objects.retain(|object| is_data(Path::new(&object.name)));
    match objects.len() {
        0 => Err(absent(address, DATA)),
        n if n > MOST => {
            let (found, expected) =
                (format!("{n} data files"), format!("a dataset's folder, of {MOST} at most"));
            Err(InputsError::data(Path::new(address.url()), found, expected))
        }
        _ => Ok((objects, Form::Folder)),
    }
}

async fn model(
    address: &Address,
    store: &Store,
    objects: &[Object],
    names: &[String],
    cache: &HubCache,
) -> Result<Vec<String>, InputsError> {
    let Some((mut wanted, weights)) = needed::weights(names, address.url())? else {
        let url = address.url();
        return Err(match needed::other_weights(names) {
            // Of a copy that is fetched by other means.
            Some(found) => {
                let copy = url.trim_end_matches('/').rsplit('/').next().unwrap_or(url);
                needed::convert(url, &format!("./{copy}"), None, found)
            }
            None => InputsError::data(Path::new(url), "no weights", MODEL),
        });
    };
    let text = small(address, store, objects, "config.json", cache).await?;
    needed::supported(address.url(), &text)?;
    if weights == Weights::Sharded {
        let text = small(address, store, objects, needed::INDEX, cache).await?;
        wanted.extend(needed::shards(names, address.url(), &text)?);
    }
    Ok(wanted)
}

/// A small file of a model, which decides what else is fetched.
async fn small(
    address: &Address,
    store: &Store,
    objects: &[Object],
    name: &'static str,
    cache: &HubCache,
) -> Result<Vec<u8>, InputsError> {
    let object = objects.iter().find(|object| object.name == name).ok_or_else(|| absent(address, MODEL))?;
    let mut quiet = |_: &crate::hub::Progress| ();
    let mut fetching = Fetching::new(object.size, &mut quiet);
    store.fetch(address, object, cache.objects(), &mut fetching).await?;
    let blob = cache.objects().blob(&object.id);
    std::fs::read(&blob).map_err(|e| InputsError::io(&blob, e))
}

impl Order {
    /// Bytes of it all.
    pub fn size(&self) -> u64 {
        self.objects.iter().map(|object| object.size).sum()
    }

    /// Bytes that are not here yet.
    pub fn to_come(&self, cache: &HubCache) -> u64 {
        self.objects.iter().map(|object| cache.objects().to_come(object)).sum()
    }

    /// Fetches it, and makes the address what it is now.
    pub async fn fetch(&self, cache: &HubCache, fetching: &mut Fetching<'_>) -> Result<(), ObjectError> {
        for object in &self.objects {
            self.store.fetch(&self.address, object, cache.objects(), fetching).await?;
        }
        // Named only when all of it is here: a part of a dataset would be read as the whole.
        if cache.objects().name(&self.address, &self.objects, self.form)? {
            tracing::warn!(
                source = self.address.url(),
                "what lies there is another content than before: that is used now"
            );
        }
        Ok(())
    }
}
