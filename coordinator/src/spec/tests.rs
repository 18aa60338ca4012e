//! Sweep files, good and bad: what the user reads is written down here word for word.

use super::file::{Allocation, BackendChoice, DtypeChoice, Sampler, SweepFile};
use super::parse::{Changes, load, parse};
use super::schema::schema;
use super::validate::sweep::KEYS;
use espalier_proto::recipe::{ParamValue, Pattern};
use espalier_proto::sweep::Checkpoints;
use std::path::Path;

fn read_with(text: &str, changes: &Changes) -> Result<SweepFile, String> {
    parse(text, Path::new("s.yaml"), Path::new("/sweeps"), changes).map_err(|e| e.to_string())
}

fn read(text: &str) -> Result<SweepFile, String> {
    read_with(text, &Changes::default())
}

/// The smallest file of the user's guide.
const SMALLEST: &str = "\
name: phi-demo
models: [./phi-demo]
recipes:
  - {method: wanda, sparsity: [0.2, 0.5, \"2:4\"]}
calibration: {data: ./calibration.txt, nsamples: 32, seqlen: 128}
tasks: [wikitext2, commonsense_qa, logiqa]
";

/// The whole of what there is, on methods and allocations that are there.
const EVERYTHING: &str = r#"
version: 1
name: dissertation
backend: cuda
threads: 2
device_kind: any
dtype: bfloat16
x-phi3: &phi3_only [phi-3-mini]

models:
  - phi-2=hf://microsoft/phi-2
  - id: phi-3-mini
    source: hf://microsoft/Phi-3-mini-4k-instruct@main
    add_bos: auto

calibration: {data: wikitext2, split: train, nsamples: 128, seqlen: 2048}
calibrations:
  wt2-4096: {data: wikitext2, split: train, nsamples: 128, seqlen: 4096}
  own:      {data: ./calibration.jsonl, field: text, sampler: document, nsamples: 64, seqlen: 2048}
  ids:      {data: ./windows.jsonl, sampler: windows, nsamples: 64, seqlen: 2048}

recipes:
  - method: wanda
    sparsity: [0.2, 0.4, 0.6, 0.8, "2:4"]
    seed: [0, 1, 2]
  - {method: [magnitude, wanda], sparsity: [0.5, "2:4", "4:8"], use_variant: true}
  - name: wanda-wide
    method: wanda
    sparsity: {prune: 1, of: 4}
    calibration: wt2-4096
    exclude: ["model.layers.0.*", "*.down_proj"]
    allocation: uniform
    models: *phi3_only
  - {method: wanda, calibration: [own, ids], allocation: {per_block: [0.4, 0.6]}, models: [phi-2]}

tasks:
  - wikitext2
  - {task: wikitext2, seqlen: 4096, models: *phi3_only}
  - commonsense_qa
  - {task: logiqa, style: lm_eval}
  - {task: reclor, style: cloze, limit: 200, data: ./reclor/val.json}
  - {task: ./tasks/mine.yaml, num_fewshot: 5, fewshot_seed: 1234}
  - e-kar

checkpoints: compact
limits: {attempts: 3, max_failed_cells: 10}
"#;

#[test]
fn the_smallest_file_has_the_defaults_that_the_guide_names() {
    let file = read(SMALLEST).unwrap();
    assert_eq!(
        (file.name.as_str(), file.backend, file.dtype),
        ("phi-demo", BackendChoice::Auto, DtypeChoice::Auto)
    );
    assert_eq!(
        (file.models[0].id.as_str(), file.models[0].source.as_str()),
        ("phi-demo", "/sweeps/phi-demo")
    );
    let calibration = &file.calibrations["default"];
    assert_eq!(
        (calibration.data.as_str(), calibration.sampler),
        ("/sweeps/calibration.txt", Sampler::Concat)
    );
    let two_four = Pattern::NOfM { prune: 2, of: 4 };
    let sparsity = [Some(Pattern::Ratio(0.2)), Some(Pattern::Ratio(0.5)), Some(two_four)];
    assert_eq!((&file.recipes[0].sparsity[..], &file.recipes[0].seeds[..]), (&sparsity[..], &[0][..]));
    assert_eq!(file.checkpoints, Checkpoints::Compact);
    let unsaid =
        read(&SMALLEST.replace("calibration: {data: ./calibration.txt, nsamples: 32, seqlen: 128}", ""))
            .unwrap();
    let calibration = &unsaid.calibrations["default"];
    assert_eq!(
        (calibration.data.as_str(), calibration.nsamples, calibration.seqlen),
        ("wikitext2", 128, None)
    );
}

#[test]
fn everything_that_the_guide_shows_is_read() {
    let file = read(EVERYTHING).unwrap();
    assert_eq!(
        (file.models.len(), file.calibrations.len(), file.recipes.len(), file.tasks.len()),
        (2, 4, 4, 7)
    );
    assert_eq!(file.recipes[0].seeds, [0, 1, 2]);
    assert_eq!(file.recipes[1].params["use_variant"], [ParamValue::Bool(true)]);
    let wide = &file.recipes[2];
    assert_eq!(wide.sparsity, [Some(Pattern::NOfM { prune: 1, of: 4 })]);
    assert_eq!(wide.models.as_deref(), Some(&["phi-3-mini".to_owned()][..]));
    assert_eq!((wide.calibrations[0].as_str(), wide.exclude.len()), ("wt2-4096", 2));
    assert_eq!(file.recipes[3].allocation, Allocation::PerBlock(vec![0.4, 0.6]));
    assert_eq!(file.tasks[4].data.as_deref(), Some("/sweeps/reclor/val.json"));
    assert_eq!((file.tasks[5].task.as_str(), file.tasks[5].num_fewshot), ("/sweeps/tasks/mine.yaml", 5));
    assert_eq!(file.tasks[6].task, "ekar");
}

#[test]
fn all_that_is_wrong_is_shown_at_once_in_the_files_order() {
    let text = "\
name: Phi Demo
modles: [./phi-demo]
recipes:
  - {method: sparsegpt, sparsity: [20, 124]}
  - {method: wanda, sparsity: 1:4, seed: -1}
calibration: {data: 7}
tasks: [logiqua]
";
    let expected = "\
s.yaml:1:1: models: found nothing, expected a list of models
s.yaml:1:7: name: found Phi Demo, expected 1 to 63 characters of a-z, 0-9 and -
s.yaml:2:1: found unknown key modles, expected one of version, name, backend, threads, device_kind, tf32, dtype, models, calibration, calibrations, recipes, tasks, checkpoints, limits (did you mean models?)
s.yaml:4:14: recipes[0].method: found sparsegpt, expected one of magnitude, wanda, dense
s.yaml:4:36: recipes[0].sparsity[0]: found 20, expected a ratio below 1 (did you mean 0.2?)
s.yaml:4:40: recipes[0].sparsity[1]: found 124, expected a ratio below 1; 124 looks like 2:4 rewritten by a YAML 1.1 tool: write \"2:4\"
s.yaml:5:31: recipes[1].sparsity: found 1:4, expected words, because tools read 1:4 in opposite ways: {prune: 1, of: 4} or {prune: 3, of: 4}
s.yaml:5:42: recipes[1].seed: found -1, expected a whole number of at least 0 and at most 9007199254740992
s.yaml:6:21: calibration.data: found 7, expected a dataset's name such as wikitext2, a file written ./file, s3://bucket/path, or org/name[@revision] on the hub
s.yaml:7:9: tasks[0]: found logiqua, expected one of wikitext2, commonsense_qa, cosmos_qa, logiqa, reclor, ekar or a task file written ./file.yaml (did you mean logiqa?)";
    assert_eq!(read(text).unwrap_err(), expected);
}

/// The smallest file with one line replaced.
fn with(line: &str, by: &str) -> String {
    assert!(SMALLEST.contains(line), "{line}");
    read(&SMALLEST.replace(line, by)).unwrap_err()
}

#[test]
fn each_mistake_has_its_message() {
    let recipe = "  - {method: wanda, sparsity: [0.2, 0.5, \"2:4\"]}";
    let tasks = "tasks: [wikitext2, commonsense_qa, logiqa]";
    let calibration = "calibration: {data: ./calibration.txt, nsamples: 32, seqlen: 128}";
    let models = "models: [./phi-demo]";
    let cases = [
        (
            calibration,
            "calibration: {data: ./c.txt, nsamples: 0}",
            "s.yaml:5:40: calibration.nsamples: found 0, expected a whole number of at least 1 and at most 1048576",
        ),
        (
            calibration,
            "calibration: {data: ./c.txt, nsamples: 4000000000, seqlen: 32}",
            "s.yaml:5:40: calibration.nsamples: found 4000000000, expected a whole number of at least 1 and at most 1048576",
        ),
        (
            calibration,
            "calibration: {data: ./c.txt, nsamples: 8193, seqlen: 2048}",
            "s.yaml:5:40: calibration.nsamples: found 8193, expected at most 8192 windows of 2048 tokens",
        ),
        (
            calibration,
            "calibration: {data: ./c.txt, sampler: concatenate}",
            "s.yaml:5:39: calibration.sampler: found concatenate, expected one of concat, document, windows",
        ),
        (models, "models: []", "s.yaml:2:9: models: found an empty list, expected a list of models"),
        (
            models,
            "models: [./a/x, ./b/x]",
            "s.yaml:2:17: models[1]: found a second model called x, the first at line 2, expected unique ids: write ID=SOURCE",
        ),
        (
            models,
            "models: [phi-demo]",
            "s.yaml:2:10: models[0]: found phi-demo, expected hf://org/name[@revision], org/name, s3://bucket/prefix or a folder written ./folder (did you mean ./phi-demo?)",
        ),
        (
            models,
            "models: [hf://org/phi@]",
            "s.yaml:2:10: models[0]: found hf://org/phi@, expected hf://org/name[@revision], org/name, s3://bucket/prefix or a folder written ./folder",
        ),
        (
            calibration,
            "calibration: {data: hf://x@, nsamples: 2}",
            "s.yaml:5:21: calibration.data: found hf://x@, expected a dataset's name such as wikitext2, a file written ./file, s3://bucket/path, or org/name[@revision] on the hub",
        ),
        (
            models,
            "models: [{source: \"s3://KEY:s3cret@b/x\"}]",
            "s.yaml:2:19: models[0].source: found s3://…b…, expected hf://org/name[@revision], org/name, s3://bucket/prefix or a folder written ./folder",
        ),
        (
            tasks,
            "tasks: [{task: logiqa, data: gs://b/x}]",
            "s.yaml:6:30: tasks[0].data: found gs://b/x, expected a file, a folder, s3://bucket/path, or org/name[@revision] on the hub",
        ),
        (
            recipe,
            "  - {method: wanda}",
            "s.yaml:4:5: recipes[0].sparsity: found nothing, expected a ratio such as 0.5 or an N:M such as \"2:4\"",
        ),
        (
            recipe,
            "  - {method: wanda, sparsity: 0.5, sparsitty: 1}",
            "s.yaml:4:36: recipes[0]: found unknown key sparsitty, expected one of name, method, sparsity, seed, calibration, exclude, allocation, models, use_variant (did you mean sparsity?)",
        ),
        (
            recipe,
            "  - {method: magnitude, sparsity: 0.5, use_variant: true}",
            "s.yaml:4:40: recipes[0].use_variant: found a parameter of wanda, expected parameters of magnitude",
        ),
        (
            recipe,
            "  - {method: wanda, sparsity: 0.5, use_variant: 1}",
            "s.yaml:4:49: recipes[0].use_variant: found 1, expected true or false",
        ),
        (
            recipe,
            "  - {method: wanda, sparsity: 0.5, calibration: wt2}",
            "s.yaml:4:49: recipes[0].calibration: found wt2, expected a name of calibrations:, which has none",
        ),
        (
            recipe,
            "  - {method: wanda, sparsity: 0.5, models: [phi-dmeo]}",
            "s.yaml:4:44: recipes[0].models: found phi-dmeo, expected phi-demo (did you mean phi-demo?)",
        ),
        (
            recipe,
            "  - {method: wanda, sparsity: 0.5, allocation: {owl: {m: 5}}}",
            "s.yaml:4:48: recipes[0].allocation: found owl, expected uniform or {per_block: [a ratio for each block]}; there is no other allocation yet",
        ),
        (
            recipe,
            "  - {method: wanda, sparsity: 0.5, exclude: ['a[']}",
            "s.yaml:4:45: recipes[0].exclude: found a[, expected a glob (unclosed character class; missing ']')",
        ),
        (
            recipe,
            "  - {method: wanda, allocation: {per_block: [0.5, 1.5]}}",
            "s.yaml:4:51: recipes[0].allocation.per_block[1]: found 1.5, expected a ratio from 0 up to, not including, 1",
        ),
        (
            tasks,
            "tasks: [{task: logiqa, style: cloz}]",
            "s.yaml:6:31: tasks[0].style: found cloz, expected one of letters, cloze, lm_eval (did you mean cloze?)",
        ),
        (
            tasks,
            "tasks: [{task: logiqa, limit: 0}]",
            "s.yaml:6:31: tasks[0].limit: found 0, expected a whole number of at least 1",
        ),
        (
            "name: phi-demo",
            "name: phi-demo\nbackend: gpu",
            "s.yaml:2:10: backend: found gpu, expected one of auto, cpu, cuda (did you mean cpu?)",
        ),
        (
            "name: phi-demo",
            "name: phi-demo\nversion: 2",
            "s.yaml:2:10: version: found 2, expected a whole number of at least 1 and at most 1",
        ),
    ];
    let said = |(line, by, expected): (&str, &str, &str)| {
        let said = with(line, by);
        (said != expected).then(|| format!("{by}\n  said     {said}\n  expected {expected}"))
    };
    let wrong: Vec<String> = cases.into_iter().filter_map(said).collect();
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_change_on_the_command_line_is_checked_like_the_file() {
    let changes = Changes { set: vec!["recipes.0.sparsity=0.7".into()], limit: Some(5) };
    let file = read_with(SMALLEST, &changes).unwrap();
    assert_eq!(file.recipes[0].sparsity, [Some(Pattern::Ratio(0.7))]);
    assert!(file.tasks.iter().all(|t| t.limit == Some(5)));
    let changes = Changes { set: vec!["calibration.nsamples=none".into()], limit: None };
    let said = read_with(SMALLEST, &changes).unwrap_err();
    let expected = "command line: calibration.nsamples: found none, expected a whole number of at least 1 and at most 1048576";
    assert_eq!(said, expected);
}

#[test]
fn an_environment_variable_stays_the_text_that_it_is() {
    let file = read(&SMALLEST.replace("./calibration.txt", "\"./$HOME/${USER}.txt\"")).unwrap();
    assert_eq!(file.calibrations["default"].data, "/sweeps/$HOME/${USER}.txt");
}

#[test]
fn every_example_is_read() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples");
    let files = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path());
    let files: Vec<_> = files.filter(|path| path.extension().is_some_and(|e| e == "yaml")).collect();
    assert!(files.len() >= 3, "{files:?}");
    for file in files {
        load(&file, &Changes::default()).unwrap();
    }
}

#[test]
fn the_schema_knows_every_key_of_the_file() {
    let schema = schema();
    let known: Vec<&String> = schema["properties"].as_object().unwrap().keys().collect();
    let mut keys: Vec<&str> = KEYS.to_vec();
    keys.sort_unstable();
    assert_eq!(known, keys);
    let text = schema.to_string();
    for word in ["wanda", "magnitude", "use_variant", "wikitext2", "ekar", "lm_eval", "per_block"] {
        assert!(text.contains(&format!("\"{word}\"")), "{word}");
    }
}
