//! Whole sweeps over golden models: what resolves, and how what is wrong is told.

use super::{InputsError, Prepared, ResolveOptions, prepare, resolve};
use crate::inputs::revisions::Revisions;
use crate::inputs::sources::HubCache;
use crate::inputs::wanted::wanted;
use crate::spec::parse::parse;
use espalier_proto::bucket::Bucket;
use espalier_proto::inputs::Inputs;
use espalier_proto::layout;
use espalier_proto::recipe::{Backend, Dtype};
use std::path::{Path, PathBuf};

const TEXT: &str = "The keeper walked along the shore and lit the lamp before the storm came.\n";

pub(super) fn golden(path: &str) -> PathBuf {
    std::fs::canonicalize(Path::new(env!("CARGO_MANIFEST_DIR")).join("../tests/goldens/scoring").join(path))
        .unwrap()
}

/// A folder with a text, and a sweep over two golden models with these lines.
pub(super) struct Case {
    pub(super) folder: tempfile::TempDir,
}

impl Case {
    pub(super) fn new() -> Self {
        let case = Self { folder: tempfile::tempdir().unwrap() };
        case.file("text.txt", &TEXT.repeat(60));
        case
    }

    fn file(&self, name: &str, text: &str) {
        std::fs::write(self.folder.path().join(name), text).unwrap();
    }

    fn options(&self) -> ResolveOptions {
        ResolveOptions {
            backend: Backend::Cpu,
            hub: HubCache::at(&self.folder.path().join("hub")),
            digests: None,
            limit: None,
        }
    }

    fn sweep(&self, rest: &str) -> crate::spec::file::SweepFile {
        let models = format!("[a={}, b={}]", golden("phi-nobos").display(), golden("llama-bos").display());
        let text = format!("name: t\nmodels: {models}\n{rest}");
        let path = self.folder.path().join("s.yaml");
        parse(&text, &path, self.folder.path(), &Default::default()).unwrap()
    }

    pub(super) fn prepare(&self, rest: &str) -> Result<Prepared, InputsError> {
        prepare(&self.sweep(rest), &self.options(), &mut |_| ())
    }

    /// The same, where moving revisions are these.
    pub(super) fn prepare_with(&self, rest: &str, revisions: Revisions) -> Result<Prepared, InputsError> {
        let mut options = self.options();
        options.hub = options.hub.with_revisions(revisions);
        prepare(&self.sweep(rest), &options, &mut |_| ())
    }

    pub(super) fn error(&self, rest: &str) -> String {
        let text = self.prepare(rest).err().expect("an error").to_string();
        text.replace(&format!("{}/", self.folder.path().display()), "")
    }
}

const CALIBRATION: &str = "calibration: {data: ./text.txt, nsamples: 4, seqlen: 32}\n";

#[tokio::test]
async fn a_sweep_over_two_models_resolves_to_a_grid_whose_inputs_lie_in_the_bucket() {
    let case = Case::new();
    let file = case.sweep(&format!(
        "recipes: [{{method: wanda, sparsity: [0.5, \"2:4\"], seed: [0, 1]}}, {{method: magnitude, sparsity: 0.5}}]\n{CALIBRATION}\
         tasks: [{{task: wikitext2, data: ./text.txt, seqlen: 64}}, {{task: reclor, data: {0}}}, {{task: reclor, style: cloze, data: {0}}}]\n",
        golden("data/native/reclor.json").display()
    ));
    let bucket = Bucket::open(case.folder.path().join("bucket").to_str().unwrap()).unwrap();
    let sweep = resolve(&file, &case.options(), &bucket, &mut |_| ()).await.unwrap();
    assert_eq!(sweep.variants.len(), 2 * (1 + 4 + 1));
    assert_eq!(sweep.cells.len(), sweep.variants.len() * 3);
    let labels: Vec<&str> = sweep.tasks.iter().map(|t| t.label.as_str()).collect();
    assert_eq!(labels, ["wikitext2@64", "reclor", "reclor/cloze"]);
    assert_eq!(sweep.tasks[0].metrics, ["ppl_token@64"]);
    assert_eq!((sweep.tasks[1].chance, sweep.tasks[1].split.as_str()), (Some(0.25), "file"));
    assert_eq!((sweep.models[0].adds_bos, sweep.models[1].adds_bos), (false, true));
    assert_eq!(sweep.models[0].dtype, Dtype::Float32);
    for cell in &sweep.cells {
        let read: Inputs = bucket.read_json(&layout::inputs(cell.inputs)).await.unwrap().unwrap();
        assert_eq!(read.digest(), cell.inputs);
    }
    let wanda: Vec<_> =
        sweep.variants.iter().filter(|v| v.spec.method == "wanda" && v.model == "a").collect();
    let windows = |seed| wanda.iter().find(|v| v.seed == Some(seed)).unwrap().spec.calibration.unwrap();
    assert_ne!(windows(0), windows(1), "a seed draws other windows");
    let again = resolve(&file, &case.options(), &bucket, &mut |_| ()).await.unwrap();
    assert_eq!(again, sweep, "resolving again gives the same sweep");
}

#[test]
fn a_corrected_answer_makes_other_cells() {
    let case = Case::new();
    let text = std::fs::read_to_string(golden("data/hf/reclor.jsonl")).unwrap();
    case.file("one.jsonl", &text);
    let mended = text.replacen("\"label\": 0", "\"label\": 1", 1);
    assert_ne!(mended, text);
    case.file("two.jsonl", &mended);
    let keys = |file: &str| {
        let tasks = format!(
            "recipes: [{{method: magnitude, sparsity: 0.5}}]\ntasks: [{{task: reclor, data: ./{file}}}]\n"
        );
        case.prepare(&tasks).unwrap().sweep.cells.iter().map(|c| c.key).collect::<Vec<_>>()
    };
    assert_eq!(keys("one.jsonl"), keys("one.jsonl"));
    assert!(keys("one.jsonl").iter().zip(keys("two.jsonl")).all(|(a, b)| *a != b));
}

#[test]
fn windows_are_taken_in_file_order_and_no_seed_drives_them() {
    let case = Case::new();
    case.file("ids.jsonl", &"{\"input_ids\": [5, 6, 7, 8, 9]}\n".repeat(3));
    let rest = "recipes: [{method: wanda, sparsity: 0.5, seed: [0, 1]}]\n\
                calibration: {data: ./ids.jsonl, nsamples: 2, seqlen: 4}\n\
                tasks: [{task: wikitext2, data: ./text.txt, seqlen: 64}]\n";
    let got = case.prepare(rest).unwrap();
    assert_eq!(got.sweep.variants.len(), 4, "equal windows make one variant a model");
    let Some(Inputs::Calibration(windows)) =
        got.inputs.values().find(|i| matches!(i, Inputs::Calibration(_)))
    else {
        panic!("no calibration")
    };
    assert_eq!(windows.windows, [[5, 6, 7, 8], [5, 6, 7, 8]]);
}

#[test]
fn what_is_wrong_with_data_is_told_with_file_place_field_and_what_was_expected() {
    let case = Case::new();
    let answers = golden("data/hf/reclor.jsonl");
    let text = std::fs::read_to_string(&answers).unwrap();
    case.file("outside.jsonl", &text.replacen("\"label\": 0", "\"label\": 7", 1));
    case.file("column.jsonl", &text.replace("\"answers\"", "\"options\""));
    case.file("withheld.jsonl", &text.replacen("\"label\": 0", "\"label\": -1", 1));
    let letters = std::fs::read_to_string(golden("data/hf/ekar.jsonl")).unwrap();
    case.file("letter.jsonl", &letters.replacen("\"answerKey\": \"A\"", "\"answerKey\": \"F\"", 1));
    case.file("empty.txt", "\n \n");
    case.file("short.txt", "a few words");
    case.file("ids.jsonl", "{\"input_ids\": [1, 2, 3, 999999]}\n");
    let task = |task: &str, file: &str| {
        format!(
            "recipes: [{{method: magnitude, sparsity: 0.5}}]\ntasks: [{{task: {task}, data: ./{file}}}]\n"
        )
    };
    let calibration = |calibration: &str| {
        format!(
            "recipes: [{{method: wanda, sparsity: 0.5}}]\ncalibration: {calibration}\n\
             tasks: [{{task: wikitext2, data: ./text.txt, seqlen: 64}}]\n"
        )
    };
    let cases = [
        (
            task("reclor", "outside.jsonl"),
            "outside.jsonl: line 1: label: found 7, expected an answer among its 4 choices: The river was too high. | The bridge was sold. | It was a holiday. | Nobody liked the bridge.",
        ),
        (
            task("reclor", "column.jsonl"),
            "column.jsonl: line 1: answers: found columns context, id_string, label, options, question, expected a list of texts",
        ),
        (
            task("reclor", "withheld.jsonl"),
            "withheld.jsonl: line 1: label: found no answer, expected an answer of every item",
        ),
        (
            task("ekar", "letter.jsonl"),
            "letter.jsonl: line 1: answerKey: found \"F\", expected an answer among its 4 choices: A | B | C | D",
        ),
        (task("reclor", "gone.jsonl"), "gone.jsonl: cannot be read: No such file or directory (os error 2)"),
        (
            task("wikitext2", "short.txt"),
            "short.txt: found 8 tokens for model a, expected more than 159 (one window of perplexity)",
        ),
        (
            calibration("{data: ./empty.txt, nsamples: 4, seqlen: 32}"),
            "empty.txt: found no text, expected text to calibrate on",
        ),
        (
            calibration("{data: ./short.txt, nsamples: 4, seqlen: 32}"),
            "short.txt: found 8 tokens for model a, expected more than 32 (a calibration window and one token to draw from)",
        ),
        (
            calibration("{data: ./ids.jsonl, nsamples: 1, seqlen: 4}"),
            "ids.jsonl: found token id 999999 for model a, expected ids below its vocabulary 384",
        ),
        (
            calibration("{data: ./ids.jsonl, nsamples: 1, seqlen: 5}"),
            "ids.jsonl: record 1: window: found 4 tokens, expected at least 5, one window",
        ),
        (
            calibration("{data: ./ids.jsonl, nsamples: 2, seqlen: 4}"),
            "ids.jsonl: found 1 records, expected 2, one a window",
        ),
    ];
    for (rest, expected) in cases {
        assert_eq!(case.error(&rest), expected);
    }
}

#[test]
fn what_a_sweep_asks_beyond_its_models_and_tasks_is_told_with_its_place() {
    let case = Case::new();
    let reclor = golden("data/native/reclor.json");
    let reclor = reclor.display();
    let task = |task: &str| format!("recipes: [{{method: magnitude, sparsity: 0.5}}]\ntasks:\n  - {task}\n");
    let cases = [
        (
            task("{task: wikitext2, data: ./text.txt, seqlen: 161}"),
            "s.yaml:5:5: tasks.seqlen: found 161, expected at most 160, the limit of model a".to_owned(),
        ),
        (
            task(&format!("{{task: reclor, data: {reclor}, style: lm_eval}}")),
            "s.yaml:5:5: tasks.style: found lm_eval, expected one of letters, cloze".to_owned(),
        ),
        (
            task(&format!("{{task: reclor, data: {reclor}, num_fewshot: 5}}")),
            "s.yaml:5:5: tasks.num_fewshot: found 5, expected 0: examples before an item are not supported yet".to_owned(),
        ),
        (
            task(&format!("{{task: reclor, data: {reclor}}}\n  - {{task: reclor, data: {reclor}, limit: 3}}")),
            "s.yaml:6:5: tasks: found a second reclor, expected tasks that differ in name, style or seqlen".to_owned(),
        ),
        (
            task("reclor"),
            "dataset metaeval/reclor is not in the Hugging Face cache hub; get it there with: hf download --repo-type \
             dataset metaeval/reclor"
                .to_owned(),
        ),
    ];
    for (rest, expected) in cases {
        assert_eq!(case.error(&rest), expected);
    }
}

#[test]
fn a_limit_cuts_items_and_windows_and_says_so() {
    let case = Case::new();
    let rest = format!(
        "recipes: [{{method: magnitude, sparsity: 0.5}}]\ntasks: [{{task: reclor, data: {}, limit: 3}}, {{task: wikitext2, data: ./text.txt, seqlen: 64, limit: 2}}]\n",
        golden("data/native/reclor.json").display()
    );
    let got = case.prepare(&rest).unwrap();
    let counts: Vec<u64> = got.inputs.values().map(Inputs::count).collect();
    assert_eq!(counts.iter().filter(|c| **c == 3).count(), 2, "{counts:?}");
    assert!(got.sweep.tasks.iter().all(|t| t.limited));
}

#[test]
fn a_users_task_file_is_read_in_the_harnesss_form() {
    let case = Case::new();
    case.file(
        "mine.yaml",
        "task: mine\noutput_type: multiple_choice\ndoc_to_text: \"Q: {{q}}\\nA:\"\ndoc_to_choice: \"{{options}}\"\n\
         doc_to_target: gold\nmetric_list:\n  - metric: acc\n  - metric: acc_norm\n",
    );
    case.file("mine.jsonl", "{\"q\": \"why?\", \"options\": [\"so\", \"because of it\"], \"gold\": 1}\n");
    let got = case.prepare("recipes: [{method: magnitude, sparsity: 0.5}]\ntasks: [{task: ./mine.yaml, data: ./mine.jsonl}]\n").unwrap();
    assert_eq!(got.sweep.tasks[0].label, "mine");
    assert_eq!(got.sweep.tasks[0].metrics, ["acc", "acc_norm", "f1", "f1_norm"]);
    case.file("bad.yaml", "task: bad\noutput_type: generate_until\n");
    assert_eq!(
        case.error(
            "recipes: [{method: magnitude, sparsity: 0.5}]\ntasks: [{task: ./bad.yaml, data: ./mine.jsonl}]\n"
        ),
        "bad.yaml: output_type: found generate_until, expected multiple_choice or loglikelihood_rolling"
    );
}

#[test]
fn all_that_a_sweep_lacks_is_told_at_once_with_how_to_get_it() {
    let case = Case::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/dissertation.yaml");
    let file = crate::spec::parse::load(&root, &Default::default()).unwrap();
    let lacks: Vec<String> = wanted(&file, &case.options().hub).lacks.iter().map(|e| e.to_string()).collect();
    let commands: Vec<&str> = lacks.iter().filter_map(|l| l.split_once("with: ")).map(|(_, c)| c).collect();
    assert_eq!(
        commands,
        [
            "hf download microsoft/phi-2",
            "hf download microsoft/Phi-3-mini-4k-instruct",
            "hf download --repo-type dataset Salesforce/wikitext",
            "hf download --repo-type dataset tau/commonsense_qa",
            "hf download --repo-type dataset allenai/cosmos_qa --revision refs/convert/parquet",
            "hf download --repo-type dataset EleutherAI/logiqa --revision refs/convert/parquet",
            "hf download --repo-type dataset metaeval/reclor",
            "hf download --repo-type dataset jiangjiechen/ekar_english",
        ]
    );
}

#[test]
fn the_demos_sweep_resolves_to_a_whole_grid() {
    let case = Case::new();
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/demo.yaml");
    let file = crate::spec::parse::load(&root, &Default::default()).unwrap();
    let got = prepare(&file, &case.options(), &mut |_| ()).unwrap();
    // Two models, each dense, five ratios of wanda and two of magnitude, on six tasks.
    assert_eq!((got.sweep.variants.len(), got.sweep.cells.len()), (16, 96));
    let labels: Vec<&str> = got.sweep.tasks.iter().map(|t| t.label.as_str()).collect();
    let cloze = ["commonsense_qa", "cosmos_qa", "logiqa", "reclor", "ekar"].map(|t| format!("{t}/cloze"));
    assert_eq!((labels[0], &labels[1..]), ("wikitext2@128", &cloze.each_ref().map(String::as_str)[..]));
    let choices = |label: &str| {
        let cell = got.sweep.cells.iter().find(|c| c.task == label).unwrap();
        match &got.inputs[&cell.inputs] {
            Inputs::Choices(choices) => choices,
            _ => panic!("{label}"),
        }
    };
    for label in &labels[1..] {
        assert!(choices(label).rows.iter().all(|r| r.options.len() >= 3), "{label}: every item is one row");
    }
}
