//! What this machine lacks → fetched from the hub and from object stores. First all of it is looked up, so that what cannot be had is told at once, before
//! gigabytes of the rest have come.

use super::error::InputsError;
use super::lack::{Configuration, Lack};
use super::needed::{self, Data, Weights};
use super::sources::HubCache;
use super::stored::{self, Stored};
use crate::hub::fetch::{Fetching, Tell, to_come};
use crate::hub::layout::Layout;
use crate::hub::{Environment, Facts, Hub, HubError, Kind, Listing, Repository};
use crate::room::{self, Load};
use std::path::Path;

/// What a sweep reads that may not be on this machine.
#[derive(Debug, Default)]
pub struct Wanting {
    /// Complaints of what the Hugging Face cache lacks.
    pub lacks: Vec<InputsError>,
    /// What is here and may have moved on the hub: that is looked up where there is a hub.
    pub moving: Vec<Lack>,
    /// Addresses in object stores: what is there is looked up every time.
    pub stored: Vec<Stored>,
}

impl From<InputsError> for Wanting {
    fn from(lack: InputsError) -> Self {
        Self { lacks: vec![lack], ..Self::default() }
    }
}

impl Wanting {
    /// True if all is here, as far as is known.
    pub fn is_empty(&self) -> bool {
        self.lacks.is_empty() && self.moving.is_empty() && self.stored.is_empty()
    }
}

/// Files of one repository that are to be fetched.
struct Order {
    listing: Listing,
    layout: Layout,
    files: Vec<Facts>,
}

/// Fetches what is wanted. Gives what there is to complain of; nothing if all is there.
pub async fn obtain(
    wanting: Wanting,
    cache: &HubCache,
    hub: Option<&Environment>,
    tell: Tell<'_>,
) -> Vec<InputsError> {
    let Wanting { lacks, moving, stored } = wanting;
    let asks = !(lacks.is_empty() && moving.is_empty());
    let (mut places, mut troubles) = (Vec::new(), Vec::new());
    for address in &stored {
        match address.order(cache).await {
            Ok(order) => places.push(order),
            Err(error) => troubles.push(error),
        }
    }
    let mut orders = Vec::new();
    let hub = match hub.filter(|_| asks).map(|environment| Hub::new(environment.clone())) {
        None => {
            troubles.extend(lacks);
            None
        }
        Some(Err(error)) => {
            troubles.extend(lacks.into_iter().chain([error.into()]));
            None
        }
        Some(Ok(hub)) => {
            troubles.extend(look_up(&hub, lacks, &moving, cache.root(), &mut orders).await);
            Some(hub)
        }
    };
    if troubles.is_empty()
        && let Err(error) = fetch(hub.as_ref(), &orders, &places, cache, tell).await
    {
        troubles.push(error);
    }
    troubles
}

/// Looks up at the hub what lacks and what may have moved; gives what there is to complain of.
async fn look_up(
    hub: &Hub,
    lacks: Vec<InputsError>,
    moving: &[Lack],
    root: &Path,
    orders: &mut Vec<Order>,
) -> Vec<InputsError> {
    let mut troubles = Vec::new();
    for lack in lacks.iter().filter_map(InputsError::lack).chain(moving) {
        match order(hub, lack, root).await {
            Ok(order) => orders.push(order),
            // The others would wait as long for nothing; how to get them by other means is what helps.
            Err(error @ InputsError::Hub(HubError::Unreachable { .. })) => {
                return lacks.into_iter().chain([error]).collect();
            }
            Err(error) => troubles.push(error),
        }
    }
    troubles.extend(lacks.into_iter().filter(|error| error.lack().is_none()));
    troubles
}

async fn fetch(
    hub: Option<&Hub>,
    orders: &[Order],
    places: &[stored::Order],
    cache: &HubCache,
    tell: Tell<'_>,
) -> Result<(), InputsError> {
    let of_hub = || orders.iter().flat_map(|order| order.files.iter().map(move |facts| (order, facts)));
    room::check(&[
        Load {
            folder: cache.root(),
            bytes: of_hub().map(|(order, facts)| to_come(&order.layout, facts)).sum(),
            elsewhere: "HF_HOME or --cache-dir",
        },
        Load {
            folder: cache.objects().root(),
            bytes: places.iter().map(|place| place.to_come(cache)).sum(),
            elsewhere: "XDG_CACHE_HOME or --cache-dir",
        },
    ])?;
    let total = of_hub().map(|(_, facts)| facts.size).sum::<u64>();
    let mut fetching = Fetching::new(total + places.iter().map(stored::Order::size).sum::<u64>(), tell);
    for Order { listing, layout, files } in orders {
        let hub = hub.expect("orders come from a hub");
        for facts in files {
            fetching.file(hub, layout, listing, facts).await?;
        }
        // Named only when all of it is here: a part of a dataset would be read as the whole.
        for facts in files {
            layout.link(&listing.commit, &facts.file, facts.checksum.hex())?;
        }
        layout.refer(&listing.revision, &listing.commit)?;
    }
    for place in places {
        place.fetch(cache, &mut fetching).await?;
    }
    Ok(())
}

async fn order(hub: &Hub, lack: &Lack, root: &Path) -> Result<Order, InputsError> {
    let order = match lack.kind {
        Kind::Model => model(hub, lack, root).await,
        Kind::Dataset => dataset(hub, lack, root).await,
    };
    order.map_err(|error| match error {
        InputsError::Hub(error) if needed::is_absence(&error) => InputsError::from(error).of(lack),
        error => error,
    })
}

async fn model(hub: &Hub, lack: &Lack, root: &Path) -> Result<Order, InputsError> {
    let name = lack.names.first().map(String::as_str).unwrap_or_default();
    let repository = Repository::new(Kind::Model, name)?;
    let listing = hub.list(&repository, lack.revisions()[0]).await?;
    let (mut names, weights) = needed::model(&listing)?;
    let layout = Layout::new(root, &repository);
    // Before gigabytes come for nothing.
    let config = small(hub, &layout, &listing, "config.json").await?;
    needed::supported(&listing.pinned(), &config)?;
    if weights == Weights::Sharded {
        let text = small(hub, &layout, &listing, needed::INDEX).await?;
        names.extend(needed::shards(&listing.files, &listing.pinned(), &text)?);
    }
    ordered(hub, listing, layout, names).await
}

/// A small file of a model, which decides what else is fetched.
async fn small(hub: &Hub, layout: &Layout, listing: &Listing, name: &str) -> Result<Vec<u8>, InputsError> {
    let facts = hub.facts(listing, name).await?;
    Fetching::new(facts.size, &mut |_| ()).file(hub, layout, listing, &facts).await?;
    let blob = layout.blob(facts.checksum.hex());
    std::fs::read(&blob).map_err(|e| InputsError::io(&blob, e))
}

/// The first name, and of it the first revision, that has data.
async fn dataset(hub: &Hub, lack: &Lack, root: &Path) -> Result<Order, InputsError> {
    let (mut unnamed, mut trouble) = (None, None);
    for name in &lack.names {
        let repository = Repository::new(Kind::Dataset, name)?;
        for revision in lack.revisions() {
            let listing = match hub.list(&repository, revision).await {
                Ok(listing) => listing,
                Err(error @ HubError::Unreachable { .. }) => return Err(error.into()),
                Err(error) => {
                    // A dataset that is there and has no conversion is told of by what it has.
                    let first = trouble.is_none() || !needed::is_absence(&error);
                    trouble = if first { Some(error.into()) } else { trouble };
                    continue;
                }
            };
            match needed::data(&listing, &lack.configuration) {
                Data::Splits(names) => {
                    return ordered(hub, listing, Layout::new(root, &repository), names).await;
                }
                Data::Unnamed(names) => drop(unnamed.get_or_insert((listing, names))),
                Data::Elsewhere(list) | Data::Mixed(list) => {
                    let found = format!("configurations {}", list.join(", "));
                    let expected = match &lack.configuration {
                        Configuration::Only => format!("one of them: hf://{name}/CONFIGURATION"),
                        Configuration::IfThere(name) | Configuration::Named(name) => name.clone(),
                    };
                    let at = listing.pinned();
                    trouble.get_or_insert(InputsError::data(Path::new(&at), found, expected));
                }
                Data::Nothing => {
                    let expected =
                        format!("Parquet, JSON, CSV or text here or at {}", super::lack::CONVERTED);
                    let at = listing.pinned();
                    trouble.get_or_insert(InputsError::data(Path::new(&at), "no data file", expected));
                }
            }
        }
        if let Some((listing, names)) = unnamed.take() {
            return ordered(hub, listing, Layout::new(root, &repository), names).await;
        }
    }
    Err(trouble.expect("every name and revision that gave no data gave a reason"))
}

async fn ordered(
    hub: &Hub,
    listing: Listing,
    layout: Layout,
    names: Vec<String>,
) -> Result<Order, InputsError> {
    let mut files = Vec::with_capacity(names.len());
    for name in names {
        files.push(hub.facts(&listing, &name).await?);
    }
    Ok(Order { listing, layout, files })
}
