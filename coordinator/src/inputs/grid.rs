//! Declared tasks → columns of the grid, with each model's inputs.

use super::catalog;
use super::choices::{Asked, chance, choices};
use super::error::InputsError;
use super::items::{Item, SplitFiles, candidates, task_items};
use super::model::Model;
use super::pairs::Room;
use super::read::text::{Texts, read_texts};
use super::sources::{HubCache, Source};
use super::task::{Style, Task};
use super::task_file::read_task;
use super::windows;
use crate::spec::file::TaskDecl;
use espalier_proto::inputs::{Inputs, Windows};
use espalier_proto::sweep::{TaskEntry, TaskKind};
use std::borrow::Cow;
use std::path::Path;

/// The window that a label does not name.
const PLAIN_SEQLEN: u32 = 2048;

/// A column of the grid with the inputs of the models that have it, by the model's index.
pub struct Column {
    /// What the resolved sweep says of it.
    pub entry: TaskEntry,
    /// Where its data is from.
    pub data: Source,
    /// Inputs by index of the model.
    pub inputs: Vec<(usize, Inputs)>,
}

/// What of the command applies to every task.
pub struct Reading<'a> {
    /// The hub's cache.
    pub hub: &'a HubCache,
    /// `--limit`.
    pub limit: Option<u64>,
}

/// The columns of one declared task: one, or one a window length where models' limits differ. `at`: its place, for messages.
pub fn columns(
    decl: &TaskDecl,
    models: &[Model],
    reading: &Reading<'_>,
    at: &str,
) -> Result<Vec<Column>, InputsError> {
    let declared = |field: &str, found: String, expected: String| InputsError::Declared {
        at: at.to_owned(),
        field: format!("tasks.{field}"),
        found,
        expected,
    };
    let task = match catalog::task(&decl.task) {
        Some(task) => Cow::Borrowed(task),
        None if decl.task.starts_with('/') => Cow::Owned(read_task(Path::new(&decl.task))?),
        None => {
            let names: Vec<&str> = catalog::tasks().iter().map(|t| t.name.as_str()).collect();
            return Err(declared("task", decl.task.clone(), format!("{} or a task file", names.join(", "))));
        }
    };
    if decl.num_fewshot > 0 {
        let expected = "0: examples before an item are not supported yet".to_owned();
        return Err(declared("num_fewshot", decl.num_fewshot.to_string(), expected));
    }
    let Some(style) = task.style(decl.style.as_deref()) else {
        let names: Vec<&str> =
            task.styles.iter().map(|s| s.name.as_str()).filter(|n| !n.is_empty()).collect();
        let expected = match names.is_empty() {
            true => format!("no style: {} is a perplexity", task.name),
            false => format!("one of {}", names.join(", ")),
        };
        return Err(declared("style", decl.style.clone().unwrap_or_default(), expected));
    };
    let wanted =
        |model: &&(usize, &Model)| decl.models.as_ref().is_none_or(|ids| ids.contains(&model.1.entry.id));
    let models: Vec<(usize, &Model)> = models.iter().enumerate().filter(|m| wanted(&m)).collect();
    let files = candidates(&task, decl.data.as_deref(), reading.hub)?;
    let limit = match (decl.limit, reading.limit) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (a, b) => a.or(b),
    };
    let column = Building { task: &task, style, decl, limit };
    match task.kind {
        TaskKind::Perplexity => {
            for (_, model) in &models {
                let seqlen = model.seqlen(decl.seqlen);
                if seqlen as usize > model.arch.max_positions {
                    let expected = format!(
                        "at most {}, the limit of model {}",
                        model.arch.max_positions, model.entry.id
                    );
                    return Err(declared("seqlen", seqlen.to_string(), expected));
                }
            }
            column.perplexity(&models, &files[0])
        }
        TaskKind::MultipleChoice => {
            if let Some(seqlen) = decl.seqlen {
                let expected = format!("nothing: {} is multiple choice and has no windows", task.name);
                return Err(declared("seqlen", seqlen.to_string(), expected));
            }
            let (of, items) = task_items(&task, &files)?;
            column.choices(&models, of, items)
        }
    }
}

struct Building<'a> {
    task: &'a Task,
    style: &'a Style,
    decl: &'a TaskDecl,
    limit: Option<u64>,
}

impl Building<'_> {
    fn entry(&self, label: String, split: &str) -> TaskEntry {
        TaskEntry {
            label,
            task: self.task.name.clone(),
            style: self.style.name.clone(),
            kind: self.task.kind,
            reasoning: self.task.reasoning,
            split: split.to_owned(),
            fewshot: 0,
            seqlen: 0,
            metrics: self.style.metrics.clone(),
            chance: None,
            limited: false,
        }
    }

    fn choices(
        &self,
        models: &[(usize, &Model)],
        of: &SplitFiles,
        mut items: Vec<Item>,
    ) -> Result<Vec<Column>, InputsError> {
        let most =
            self.limit.map_or(items.len(), |l| items.len().min(usize::try_from(l).unwrap_or(usize::MAX)));
        let limited = most < items.len();
        items.truncate(most);
        let default = self.task.styles.first().is_some_and(|s| s.name == self.style.name);
        let label =
            if default { self.task.name.clone() } else { format!("{}/{}", self.task.name, self.style.name) };
        let entry = self.entry(label.clone(), &of.split);
        let mut column = Column { entry, data: of.source.clone(), inputs: Vec::new() };
        column.entry.limited = limited;
        let asked = Asked { task: self.task, style: self.style, label: &label };
        for (index, model) in models {
            let room = Room { max_len: model.arch.max_positions, rope_switch: model.arch.rope_switch() };
            let resolved = choices(asked, &items, &model.tokenizer, room)?;
            column.entry.chance = Some(chance(&resolved));
            let inputs = Inputs::Choices(resolved);
            model.check_ids(&label, &inputs)?;
            column.inputs.push((*index, inputs));
        }
        Ok(vec![column])
    }

    fn perplexity(&self, models: &[(usize, &Model)], files: &SplitFiles) -> Result<Vec<Column>, InputsError> {
        let Texts::Rows(rows) = read_texts(&files.files, &self.task.text)? else {
            return Err(InputsError::data(
                &files.files[0],
                "token ids",
                "text: each model has its own tokens",
            ));
        };
        let text = rows.join("\n\n");
        let lengths: std::collections::BTreeSet<u32> =
            models.iter().map(|(_, m)| m.seqlen(self.decl.seqlen)).collect();
        let mut columns: Vec<Column> = Vec::new();
        for (index, model) in models {
            let seqlen = model.seqlen(self.decl.seqlen);
            let tokens = model.tokenizer.encode(&text)?;
            let all = tokens.len() / seqlen as usize;
            if all == 0 {
                return Err(InputsError::TooShort {
                    data: files.files[0].display().to_string(),
                    model: model.entry.id.clone(),
                    found: tokens.len(),
                    seqlen: seqlen - 1,
                    need: "one window of perplexity",
                });
            }
            let windows = windows::disjoint(&tokens, seqlen as usize, self.limit);
            let limited = windows.len() < all;
            let inputs = Inputs::Perplexity(Windows::new(seqlen, windows));
            model.check_ids(&self.task.name, &inputs)?;
            let plain = seqlen == PLAIN_SEQLEN || (self.decl.seqlen.is_none() && lengths.len() == 1);
            let label = if plain { self.task.name.clone() } else { format!("{}@{seqlen}", self.task.name) };
            let column = match columns.iter().position(|c| c.entry.seqlen == seqlen) {
                Some(known) => &mut columns[known],
                None => {
                    let mut entry = self.entry(label, &files.split);
                    entry.seqlen = seqlen;
                    entry.metrics = self.style.metrics.iter().map(|m| format!("{m}@{seqlen}")).collect();
                    columns.push(Column { entry, data: files.source.clone(), inputs: Vec::new() });
                    columns.last_mut().expect("pushed above")
                }
            };
            column.entry.limited |= limited;
            column.inputs.push((*index, inputs));
        }
        Ok(columns)
    }
}
