//! What a task is: its data's native forms, its styles, its metrics. Data without code, from the catalog or a user's file.

use super::read::schema::{Field, Reader};
use espalier_proto::sweep::{Reasoning, TaskKind};

/// A task.
#[derive(Clone, Debug)]
pub struct Task {
    /// As tables show it.
    pub name: String,
    /// Its file, for messages.
    pub file: String,
    /// One line for people.
    pub about: String,
    /// Other spellings of its name.
    pub aliases: Vec<String>,
    /// Only of reasoning tasks.
    pub reasoning: Option<Reasoning>,
    /// Perplexity or multiple choice.
    pub kind: TaskKind,
    /// Where its data is on the hub: names to look for in order, the first being the official one.
    pub datasets: Vec<String>,
    /// The configuration of that dataset.
    pub config: Option<String>,
    /// The revision that holds its data, where the hub's main does not.
    pub revision: Option<String>,
    /// Fields of a document; empty if records are documents as they are.
    pub fields: Vec<Field>,
    /// Native forms.
    pub readers: Vec<Reader>,
    /// Field of the item's id.
    pub id: Option<String>,
    /// Field of the answer: missing, empty or -1 where it is withheld.
    pub answer: Option<String>,
    /// Fewest and most options of an item.
    pub options: Option<(usize, usize)>,
    /// Field of the text, of perplexity tasks.
    pub text: String,
    /// The default style first. Perplexity has one without a name.
    pub styles: Vec<Style>,
}

/// A way to ask.
#[derive(Clone, Debug)]
pub struct Style {
    /// Its name.
    pub name: String,
    /// Jinja: the context.
    pub text: String,
    /// The options.
    pub choices: ChoiceTemplate,
    /// Jinja around each option; the option is `choice`.
    pub choice_form: Option<String>,
    /// Jinja or a field: the answer.
    pub target: String,
    /// Between context and option.
    pub delimiter: String,
    /// In table order, without a protocol's numbers.
    pub metrics: Vec<String>,
}

/// `doc_to_choice`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ChoiceTemplate {
    /// Each in Jinja.
    List(Vec<String>),
    /// Jinja that gives a list, or a field that is one.
    Whole(String),
}

impl Task {
    /// The style called `name`, the default one for `None`.
    pub fn style(&self, name: Option<&str>) -> Option<&Style> {
        match name {
            None => self.styles.first(),
            Some(name) => self.styles.iter().find(|s| s.name == name),
        }
    }
}
