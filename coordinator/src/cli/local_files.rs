//! The local files that a sweep reads, found before it is submitted elsewhere, and sent there once, by content.

use super::remote::Remote;
use crate::exit::Failure;
use crate::spec::file::SweepFile;
use espalier_proto::ids::Digest;
use espalier_proto::messages as m;
use espalier_proto::model_folder::{file_digest, model_files};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use tokio::io::AsyncReadExt;

/// Bytes of a chunk.
const CHUNK: usize = 1 << 20;
/// Files of a model's folder that matter beside config.json and weights.
const BESIDE: [&str; 6] = [
    "tokenizer.json",
    "tokenizer_config.json",
    "special_tokens_map.json",
    "added_tokens.json",
    "generation_config.json",
    "chat_template.jinja",
];
/// More files than this in one data folder are a slip.
const MOST: usize = 10_000;

/// Every local file that the sweep reads, by absolute path. A path where nothing is is left to the coordinator to name.
pub fn local_files(file: &SweepFile) -> Result<BTreeSet<PathBuf>, Failure> {
    let local = |source: &str| source.starts_with('/').then(|| PathBuf::from(source));
    let mut found = BTreeSet::new();
    for folder in file.models.iter().filter_map(|m| local(&m.source)).filter(|f| f.is_dir()) {
        let files = model_files(&folder)?;
        found.extend(std::iter::once(files.config).chain(files.index).chain(files.weights));
        found.extend(BESIDE.iter().map(|name| folder.join(name)).filter(|p| p.is_file()));
    }
    let calibrations = file.calibrations.values().filter_map(|c| local(&c.data));
    let tasks = file.tasks.iter().flat_map(|t| [Some(t.task.as_str()), t.data.as_deref()]);
    for path in calibrations.chain(tasks.flatten().filter_map(local)) {
        add(&path, &mut found)?;
    }
    Ok(found)
}

fn add(path: &Path, found: &mut BTreeSet<PathBuf>) -> Result<(), Failure> {
    let failed = |source| Failure::Read { path: path.display().to_string(), source };
    if path.is_file() {
        found.insert(path.to_owned());
    } else if path.is_dir() {
        for entry in std::fs::read_dir(path).map_err(failed)? {
            add(&entry.map_err(failed)?.path(), found)?;
            if found.len() > MOST {
                let message =
                    format!("{}: more than {MOST} files, expected a dataset's folder", path.display());
                return Err(Failure::Usage { message });
            }
        }
    }
    Ok(())
}

/// Sends what the coordinator does not have. `cache`: remembered digests. Gives the list for the submission.
pub async fn send(
    remote: &mut Remote,
    files: BTreeSet<PathBuf>,
    cache: Option<&Path>,
    mut tell: impl FnMut(&str),
) -> Result<Vec<m::LocalFile>, Failure> {
    let mut by_digest: BTreeMap<Digest, PathBuf> = BTreeMap::new();
    let mut list = Vec::new();
    for path in files {
        tell(&format!("reading {}", path.display()));
        let (_, sha256) = file_digest(&path, cache)?;
        list.push(m::LocalFile { path: path.display().to_string(), sha256: sha256.to_string() });
        by_digest.insert(sha256, path);
    }
    let asked = m::MissingRequest { sha256: by_digest.keys().map(Digest::to_string).collect() };
    let missing = remote.missing(asked).await?.into_inner().sha256;
    for (n, text) in missing.iter().enumerate() {
        let path = text.parse().ok().and_then(|digest: Digest| by_digest.get(&digest)).cloned();
        let Some(path) = path else { continue };
        tell(&format!("sending {} ({} of {})", path.display(), n + 1, missing.len()));
        send_one(remote, text.clone(), &path).await?;
    }
    Ok(list)
}

async fn send_one(remote: &mut Remote, sha256: String, path: &Path) -> Result<(), Failure> {
    let failed = |source| Failure::Read { path: path.display().to_string(), source };
    let mut file = tokio::fs::File::open(path).await.map_err(failed)?;
    let (sender, receiver) = tokio::sync::mpsc::channel(4);
    let sending = remote.upload(tokio_stream::wrappers::ReceiverStream::new(receiver));
    // Takes the sender: the stream ends with it.
    let reading = async move {
        let mut first = true;
        loop {
            let mut data = vec![0; CHUNK];
            let n = file.read(&mut data).await?;
            data.truncate(n);
            // An empty file is one empty chunk.
            if n == 0 && !first {
                return Ok::<_, std::io::Error>(());
            }
            first = false;
            let chunk = m::UploadChunk { sha256: sha256.clone(), data };
            if sender.send(chunk).await.is_err() || n == 0 {
                return Ok(());
            }
        }
    };
    let (read, sent) = tokio::join!(reading, sending);
    read.map_err(failed)?;
    sent?;
    Ok(())
}
