//! The task catalog, parsed: what the sweep file's names mean.

use super::task::Task;
use super::task_file::parse_task;
use espalier_proto::catalog::TASKS;
use std::sync::LazyLock;

static CATALOG: LazyLock<Vec<Task>> = LazyLock::new(|| {
    let read = |file: &espalier_proto::catalog::CatalogFile| {
        parse_task(file.text, &format!("catalog/{}.yaml", file.name), file.name)
            .expect("a test reads every file of the catalog")
    };
    TASKS.iter().map(read).collect()
});

/// Every task, in the order in which tables show them.
pub fn tasks() -> &'static [Task] {
    &CATALOG
}

/// The task of this name or alias.
pub fn task(name: &str) -> Option<&'static Task> {
    let lower = name.to_lowercase();
    tasks().iter().find(|t| t.name == lower || t.aliases.contains(&lower))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_file_of_the_catalog_is_a_task_of_its_name_with_its_default_style_first() {
        for (task, file) in tasks().iter().zip(TASKS) {
            assert_eq!(task.name, file.name);
            if task.reasoning.is_some() {
                assert_eq!(task.styles[0].name, "letters", "{}", task.name);
                assert_eq!(task.styles[0].metrics, ["acc", "f1"], "{}", task.name);
                assert_eq!(task.style(Some("cloze")).unwrap().metrics, ["acc", "acc_norm", "f1", "f1_norm"]);
            }
        }
    }

    #[test]
    fn other_spellings_are_the_same_task() {
        for (alias, name) in
            [("commonsenseqa", "commonsense_qa"), ("E-KAR", "ekar"), ("wikitext", "wikitext2")]
        {
            assert_eq!(task(alias).unwrap().name, name);
        }
        assert!(task("boolq").is_none());
    }
}
