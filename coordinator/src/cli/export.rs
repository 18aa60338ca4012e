//! `espalier export`: any variant of a bucket → a Hugging Face folder.

use super::bars::say;
use super::{BucketArg, Output, folders, print};
use crate::exit::{Exit, Failure};
use crate::spec::complaint::did_you_mean;
use crate::store::claim::{self, Claim, ClaimError};
use crate::store::folder::{self, FolderError};
use crate::store::inventory;
use espalier_proto::bucket::Bucket;
use espalier_proto::checkpoint::ExportError;
use espalier_proto::ids::Name;
use espalier_proto::layout;
use espalier_proto::mirror;
use espalier_proto::model_folder::folder_digest;
use espalier_proto::records::VariantRecord;
use espalier_proto::sweep::{ResolvedSweep, VariantEntry};
use object_store::path::Path as Place;
use serde_json::json;
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

/// Write a variant of a bucket as a Hugging Face folder
#[derive(Debug, clap::Args)]
#[command(after_help = "Examples:\n  espalier export wanda-0.5-s0 --sweep smollm2 --to ./smol-half\n  \
                  espalier export phi-demo/wanda-2:4-s0 --sweep demo --to ./phi-2-4\n  \
                  espalier export phi-demo/wanda-0.6-s0 --sweep demo --to s3://models/phi-sparse")]
pub struct Export {
    /// The variant: its name, MODEL/NAME, or the beginning of its key
    #[arg(value_name = "VARIANT")]
    pub variant: String,
    /// The sweep that it is of [default: the bucket's only one]
    #[arg(long, value_name = "NAME")]
    pub sweep: Option<String>,
    /// The folder to write, or s3://BUCKET/PREFIX; must be empty or absent
    #[arg(long, value_name = "DIR|URL")]
    pub to: String,
    /// The base model's folder [default: where it was when the sweep was resolved]
    #[arg(long, value_name = "DIR")]
    pub base: Option<PathBuf>,
    /// The bucket.
    #[command(flatten)]
    pub bucket: BucketArg,
}

/// Runs the command.
pub async fn run(command: &Export, output: Output) -> Result<Exit, Failure> {
    let bucket = Bucket::open_existing(&command.bucket.bucket)?;
    let sweep = sweep(&bucket, command.sweep.as_deref()).await?;
    let variant = find(&sweep, &command.variant)?;
    let path = layout::variant_record(variant.key);
    let Some(record) = bucket.read_object::<VariantRecord>(&path).await? else {
        let message = format!(
            "{} of sweep {} is not pruned yet: running or submitting the sweep does it",
            variant.name, sweep.name
        );
        return Err(Failure::NotFound { message });
    };
    let to = Target::open(&command.to).await?;
    let model = sweep.models.iter().find(|m| m.id == variant.model);
    let base = command.base.clone().or_else(|| model.map(|m| PathBuf::from(&m.folder))).unwrap_or_default();
    let mirrored = command.base.is_none() && mirror::list(&bucket, record.spec.model).await?.is_some();
    let found = folder_digest(&base, None);
    if !mirrored && found.as_ref().is_ok_and(|found| *found != record.spec.model) {
        let message = format!(
            "{} holds model {}, and the variant was made of {}; say --base with that model's folder",
            base.display(),
            found?.0.short(),
            record.spec.model.0.short()
        );
        return Err(Failure::NotFound { message });
    }
    if !mirrored {
        found?;
    }
    let base = folder::base(&bucket, &base, record.spec.model).await?;
    match &to {
        Target::Folder(to) => {
            let written = folder::write(&bucket, &record, &base.folder, to).await;
            written.map_err(|error| filled(error, &command.to))?;
        }
        Target::Bucket(to) => {
            let claim = Claim::take(to).await.map_err(|error| refused(error, &command.to))?;
            let put = folder::put(&bucket, &record, &base.folder, (to, &Place::default())).await;
            claim.release(to).await?;
            put?;
        }
    }
    say(&format!("{} of {} is in {}", variant.name, variant.model, command.to));
    if output == Output::Json {
        print::json(
            &json!({"variant": variant.name, "model": variant.model, "key": variant.key, "folder": command.to}),
        );
    }
    Ok(Exit::Whole)
}

/// Where the folder goes.
enum Target {
    Folder(PathBuf),
    Bucket(Bucket),
}

impl Target {
    /// Refuses a place that holds something.
    async fn open(said: &str) -> Result<Self, Failure> {
        if !said.contains("://") {
            folders::is_free(Path::new(said))?;
            return Ok(Self::Folder(PathBuf::from(said)));
        }
        let bucket = Bucket::open(said)?;
        claim::is_free(&bucket).await.map_err(|error| refused(error, said))?;
        Ok(Self::Bucket(bucket))
    }
}

fn refused(error: ClaimError, to: &str) -> Failure {
    match error {
        ClaimError::Bucket(error) => error.into(),
        error => Failure::Write { path: to.to_owned(), source: std::io::Error::other(error.to_string()) },
    }
}

/// Of a folder that was free when it was looked at.
fn filled(error: FolderError, to: &str) -> Failure {
    match error {
        FolderError::Export(ExportError::Io { source, .. })
            if matches!(source.kind(), ErrorKind::DirectoryNotEmpty | ErrorKind::AlreadyExists) =>
        {
            let why = "it was empty or absent, and meanwhile another process, perhaps an export, has put something there: choose another \
                       folder or empty it";
            Failure::Write { path: to.to_owned(), source: std::io::Error::other(why) }
        }
        error => error.into(),
    }
}

/// The current grid of a sweep.
async fn sweep(bucket: &Bucket, name: Option<&str>) -> Result<ResolvedSweep, Failure> {
    let folder = layout::sweeps();
    let known: BTreeSet<String> = bucket
        .list(&folder)
        .await?
        .iter()
        .filter_map(|path| path.parts().nth(1).map(|part| part.as_ref().to_owned()))
        .collect();
    let listed = || known.iter().cloned().collect::<Vec<_>>().join(", ");
    let name = match (name, known.len()) {
        (Some(name), _) if known.contains(name) => name.to_owned(),
        (Some(name), _) => {
            let words: Vec<&str> = known.iter().map(String::as_str).collect();
            let near = did_you_mean(name, &words);
            let message = format!("bucket {} has no sweep {name}; it has: {}{near}", bucket.url(), listed());
            return Err(Failure::NotFound { message });
        }
        (None, 1) => listed(),
        (None, 0) => {
            return Err(Failure::NotFound { message: format!("bucket {} has no sweep", bucket.url()) });
        }
        (None, _) => {
            return Err(Failure::Usage { message: format!("--sweep: expected one of {}", listed()) });
        }
    };
    let name: Name = name.parse().map_err(|error| Failure::NotFound { message: format!("sweep {error}") })?;
    let spec = inventory::fold(bucket, &name).await?.spec;
    let spec = match spec {
        Some(digest) => bucket.read_object(&layout::spec(&name, digest)).await?,
        None => None,
    };
    spec.ok_or_else(|| Failure::NotFound { message: format!("sweep {name} was never submitted whole") })
}

fn find<'s>(sweep: &'s ResolvedSweep, said: &str) -> Result<&'s VariantEntry, Failure> {
    let is_key = said.len() >= 8 && said.bytes().all(|b| b.is_ascii_hexdigit());
    let fits = |v: &&VariantEntry| {
        v.name == said
            || format!("{}/{}", v.model, v.name) == said
            || (is_key && v.key.to_string().starts_with(said))
    };
    let found: Vec<&VariantEntry> = sweep.variants.iter().filter(fits).collect();
    let full = |v: &&VariantEntry| format!("{}/{}", v.model, v.name);
    match found[..] {
        [only] => Ok(only),
        [] => {
            let names: BTreeSet<&str> = sweep.variants.iter().map(|v| v.name.as_str()).collect();
            let names: Vec<&str> = names.into_iter().collect();
            let near = did_you_mean(said, &names);
            let message =
                format!("sweep {} has no variant {said}; it has: {}{near}", sweep.name, names.join(", "));
            Err(Failure::NotFound { message })
        }
        _ => {
            let all: Vec<String> = found.iter().map(full).collect();
            Err(Failure::NotFound {
                message: format!("{said} is several variants: say one of {}", all.join(", ")),
            })
        }
    }
}
