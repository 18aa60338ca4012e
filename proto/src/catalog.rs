//! The task catalog: `proto/catalog/*.yaml`, one task a file, data without code.

/// A task of the catalog as it lies in its file.
#[derive(Clone, Copy, Debug)]
pub struct CatalogFile {
    /// The task's name: the file's stem.
    pub name: &'static str,
    /// The file's text.
    pub text: &'static str,
}

/// Every task, in the order in which tables show them.
pub const TASKS: &[CatalogFile] = &[
    CatalogFile { name: "wikitext2", text: include_str!("../catalog/wikitext2.yaml") },
    CatalogFile { name: "commonsense_qa", text: include_str!("../catalog/commonsense_qa.yaml") },
    CatalogFile { name: "cosmos_qa", text: include_str!("../catalog/cosmos_qa.yaml") },
    CatalogFile { name: "logiqa", text: include_str!("../catalog/logiqa.yaml") },
    CatalogFile { name: "reclor", text: include_str!("../catalog/reclor.yaml") },
    CatalogFile { name: "ekar", text: include_str!("../catalog/ekar.yaml") },
];
