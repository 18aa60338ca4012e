//! What the cache lacks → fetched from the hub. First all of it is looked up, so that what cannot be had is told at once, before
//! gigabytes of the rest have come.

use super::error::InputsError;
use super::lack::{Configuration, Lack};
use super::needed::{self, Data, Weights};
use super::sources::HubCache;
use crate::hub::fetch::{Fetching, Tell};
use crate::hub::layout::Layout;
use crate::hub::{Environment, Facts, Hub, HubError, Kind, Listing, Repository};
use std::path::Path;

/// Files of one repository that are to be fetched.
struct Order {
    listing: Listing,
    layout: Layout,
    files: Vec<Facts>,
}

/// Fetches what these complaints say is not in the cache. Gives what is still to be complained of; nothing if all is there.
pub async fn obtain(
    lacks: Vec<InputsError>,
    cache: &HubCache,
    hub: Option<&Environment>,
    tell: Tell<'_>,
) -> Vec<InputsError> {
    let Some(environment) = hub.filter(|_| !lacks.is_empty()) else {
        return lacks;
    };
    let hub = match Hub::new(environment.clone()) {
        Ok(hub) => hub,
        Err(error) => return lacks.into_iter().chain([error.into()]).collect(),
    };
    let (mut orders, mut troubles) = (Vec::new(), Vec::new());
    for lack in lacks.iter().filter_map(InputsError::lack) {
        match order(&hub, lack, cache.root()).await {
            Ok(order) => orders.push(order),
            // The others would wait as long for nothing; how to get them by other means is what helps.
            Err(error @ InputsError::Hub(HubError::Unreachable { .. })) => {
                return lacks.into_iter().chain([error]).collect();
            }
            Err(error) => troubles.push(error),
        }
    }
    troubles.extend(lacks.into_iter().filter(|error| error.lack().is_none()));
    if troubles.is_empty()
        && let Err(error) = fetch(&hub, &orders, tell).await
    {
        troubles.push(error.into());
    }
    troubles
}

async fn fetch(hub: &Hub, orders: &[Order], tell: Tell<'_>) -> Result<(), HubError> {
    let total = orders.iter().flat_map(|order| &order.files).map(|facts| facts.size).sum();
    let mut fetching = Fetching::new(total, tell);
    for Order { listing, layout, files } in orders {
        for facts in files {
            fetching.file(hub, layout, listing, facts).await?;
        }
        // Named only when all of it is here: a part of a dataset would be read as the whole.
        for facts in files {
            layout.link(&listing.commit, &facts.file, facts.checksum.hex())?;
        }
        layout.refer(&listing.revision, &listing.commit)?;
    }
    Ok(())
}

async fn order(hub: &Hub, lack: &Lack, root: &Path) -> Result<Order, InputsError> {
    match lack.kind {
        Kind::Model => model(hub, lack, root).await,
        Kind::Dataset => dataset(hub, lack, root).await,
    }
}

async fn model(hub: &Hub, lack: &Lack, root: &Path) -> Result<Order, InputsError> {
    let name = lack.names.first().map(String::as_str).unwrap_or_default();
    let repository = Repository::new(Kind::Model, name)?;
    let listing = hub.list(&repository, lack.revisions()[0]).await?;
    let (mut names, weights) = needed::model(&listing)?;
    let layout = Layout::new(root, &repository);
    if weights == Weights::Sharded {
        let index = hub.facts(&listing, needed::INDEX).await?;
        Fetching::new(index.size, &mut |_| ()).file(hub, &layout, &listing, &index).await?;
        let blob = layout.blob(index.checksum.hex());
        let text = std::fs::read(&blob).map_err(|e| InputsError::io(&blob, e))?;
        names.extend(needed::shards(&listing, &text)?);
    }
    ordered(hub, listing, layout, names).await
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
