//! Which files a report is, and where they go: `sweeps/<sweep>/report/` of the bucket, or any folder.

use super::costs::Costs;
use super::{data, html, markdown};
use crate::merge::collect::Found;
use crate::merge::table::Table;
use espalier_proto::bucket::{Bucket, BucketError};
use espalier_proto::ids::Name;
use espalier_proto::layout;
use std::path::{Path, PathBuf};

/// Why a report could not be written.
#[derive(Debug, thiserror::Error)]
pub enum WriteError {
    /// The bucket failed.
    #[error(transparent)]
    Bucket(#[from] BucketError),
    /// A file could not be written.
    #[error("report cannot be written to {path}")]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: std::io::Error,
    },
}

/// A report, rendered.
#[derive(Clone, Debug)]
pub struct Report {
    /// The table it was made from.
    pub table: Table,
    /// Files by name, in the order in which they are written.
    pub files: Vec<(&'static str, String)>,
}

impl Report {
    /// Renders what was found. Equal spec, records and log give equal `results.*`; costs speak money where an hour of a device has a price.
    pub fn new(found: &Found, gpu_hour_price: Option<f64>) -> Self {
        let table = Table::new(found);
        let costs = Costs::new(found, gpu_hour_price);
        let files = vec![
            ("results.csv", data::results_csv(&table)),
            ("results.json", data::results_json(&table)),
            ("results.md", markdown::results(&table)),
            ("results.html", html::results(&table)),
            ("costs.csv", costs.csv()),
            ("costs.json", costs.json()),
            ("costs.md", markdown::costs(&table, &costs)),
            ("costs.html", html::costs(&table, &costs)),
            ("index.html", html::index(&table, &costs)),
        ];
        Self { table, files }
    }

    /// A file's text.
    pub fn file(&self, name: &str) -> Option<&str> {
        self.files.iter().find(|(n, _)| *n == name).map(|(_, text)| text.as_str())
    }
}

/// Writes a report into the bucket; gives where its first page is: a path for a folder, a URL otherwise.
pub async fn write_report(bucket: &Bucket, sweep: &Name, report: &Report) -> Result<String, WriteError> {
    let folder = layout::report_folder(sweep);
    for (name, text) in &report.files {
        bucket.put(&folder.clone().join(*name), text.clone().into()).await?;
    }
    let index = folder.join("index.html");
    Ok(match bucket.folder() {
        Some(root) => root.join(index.as_ref()).display().to_string(),
        None => format!("{}/{index}", bucket.url().trim_end_matches('/')),
    })
}

/// Writes a report into a folder, made if absent; gives the path of its first page.
pub fn write_to_folder(folder: &Path, report: &Report) -> Result<PathBuf, WriteError> {
    let files: Vec<(&str, &[u8])> =
        report.files.iter().map(|(name, text)| (*name, text.as_bytes())).collect();
    write_files(folder, &files)
}

/// Writes a report's files into a folder, made if absent; gives the path of its first page. Names that are no file names,
/// which no report has, are left out.
pub fn write_files(folder: &Path, files: &[(&str, &[u8])]) -> Result<PathBuf, WriteError> {
    let failed = |path: &Path| {
        let path = path.to_owned();
        move |source| WriteError::File { path, source }
    };
    std::fs::create_dir_all(folder).map_err(failed(folder))?;
    for (name, content) in files.iter().filter(|(name, _)| !name.contains('/') && !name.starts_with('.')) {
        let path = folder.join(name);
        std::fs::write(&path, content).map_err(failed(&path))?;
    }
    Ok(folder.join("index.html"))
}
