//! `--set PATH=VALUE`: changes one value of the tree before it is checked, so that the checks are the file's own.

use super::complaint::Complaint;
use super::file::Pos;
use super::yaml::{self, Key, MOST_DEPTH, Node, Value};

/// Applies one `PATH=VALUE`: a dotted path with indices (`recipes.0.sparsity`, `calibration.nsamples`), a YAML value.
pub fn apply(root: &mut Node, change: &str) -> Result<(), Complaint> {
    let nowhere = |found: &str, expected: String| Complaint::new(Pos::default(), "--set", found, expected);
    let Some((path, text)) = change.split_once('=') else {
        return Err(nowhere(change, "PATH=VALUE, such as calibration.nsamples=64".to_owned()));
    };
    let mut value = yaml::parse(text).map_err(|mut all| {
        let first = all.swap_remove(0).message;
        nowhere(change, format!("a YAML value after = ({first})"))
    })?;
    forget_places(&mut value);
    let steps: Vec<&str> = path.split(['.', '[', ']']).filter(|s| !s.is_empty()).collect();
    if steps.len() > MOST_DEPTH {
        let found = format!("a path of {} steps", steps.len());
        return Err(nowhere(&found, format!("at most {MOST_DEPTH}")));
    }
    let mut node = root;
    for (i, step) in steps.iter().enumerate() {
        let so_far = || steps[..i].join(".");
        let here = node.describe();
        node = match &mut node.value {
            Value::List(items) => {
                let length = items.len();
                let index = step.parse::<usize>().ok().filter(|n| *n < length);
                let Some(index) = index else {
                    let expected = format!("an index of {} below {length}", so_far());
                    return Err(nowhere(&format!("{step} in {path}"), expected));
                };
                &mut items[index]
            }
            Value::Map(entries) => {
                let index = entries.iter().position(|(k, _)| k.word == *step).unwrap_or_else(|| {
                    let key = Key { at: Pos::default(), word: (*step).to_owned() };
                    let empty = Value::Map(Vec::new());
                    entries.push((key, Node { at: Pos::default(), value: empty }));
                    entries.len() - 1
                });
                &mut entries[index].1
            }
            _ => {
                let expected = format!("a mapping or a list at {}, which is {here}", so_far());
                return Err(nowhere(&format!("{step} in {path}"), expected));
            }
        };
    }
    *node = value;
    Ok(())
}

/// What comes from the command line stands nowhere in the file.
fn forget_places(node: &mut Node) {
    node.at = Pos::default();
    match &mut node.value {
        Value::List(items) => items.iter_mut().for_each(forget_places),
        Value::Map(entries) => {
            for (key, node) in entries {
                key.at = Pos::default();
                forget_places(node);
            }
        }
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_of_a_million_steps_is_refused_before_it_is_a_tree() {
        let mut root = yaml::parse("a: 1").unwrap();
        let error = apply(&mut root, &format!("{}=1", "b.".repeat(1_000_000))).unwrap_err();
        assert!(error.message.contains("found a path of 1000000 steps, expected at most 64"), "{error:?}");
    }

    #[test]
    fn a_value_is_replaced_or_added_and_a_wrong_path_says_what_is_there() {
        let mut root = yaml::parse("recipes: [{method: wanda, sparsity: 0.5}]\n").unwrap();
        apply(&mut root, "recipes.0.sparsity=[0.2, \"2:4\"]").unwrap();
        apply(&mut root, "calibration.nsamples=8").unwrap();
        let expected = "recipes: [{method: wanda, sparsity: [0.2, \"2:4\"]}]\ncalibration: {nsamples: 8}";
        let text = |n: &Node| format!("{:?}", super::super::yaml::plain(n));
        assert_eq!(text(&root), text(&yaml::parse(expected).unwrap()));
        let wrong = apply(&mut root, "recipes.3.sparsity=1").unwrap_err();
        assert_eq!(wrong.message, "found 3 in recipes.3.sparsity, expected an index of recipes below 1");
        assert!(apply(&mut root, "name").unwrap_err().message.contains("PATH=VALUE"));
    }
}
