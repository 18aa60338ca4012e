//! A small sweep in a folder of its own, for tests that break one thing of it and look at what the user is told.
//!
//! In: a golden model's name. Out: a private copy of it, tiny data and a sweep file of two variants and two tasks. Never touches
//! the goldens, nor any cache of the user's.

use crate::binaries::{binary, called, ended};
use crate::{files, root};
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Mutex;

/// Everything that one test's sweep is made of.
#[derive(Debug)]
pub struct Place {
    folder: tempfile::TempDir,
    environment: Vec<(String, String)>,
    /// Where its programs lie, if not beside the running test.
    programs: Mutex<Option<PathBuf>>,
}

impl Drop for Place {
    /// Of a test that failed, what its processes logged last is printed: the folder goes.
    fn drop(&mut self) {
        if std::thread::panicking() {
            files(self.folder.path(), "log").iter().for_each(|log| print_end(log));
        }
    }
}

impl Place {
    /// A copy of `tests/goldens/scoring/<golden>` as `model`, `rows.txt`, `cs.jsonl`, and the sweep `s.yaml` over them.
    ///
    /// # Panics
    /// If the goldens cannot be copied.
    pub fn new(golden: &str) -> Self {
        let folder = tempfile::tempdir().expect("a temporary folder can be made");
        let place = Self { folder, environment: Vec::new(), programs: Mutex::default() };
        let scoring = root().join("tests/goldens/scoring");
        copy_folder(&scoring.join(golden), &place.at("model"));
        for (from, to) in [("data/rows.txt", "rows.txt"), ("data/native/commonsense_qa.jsonl", "cs.jsonl")] {
            std::fs::copy(scoring.join(from), place.at(to)).expect("a golden file can be copied");
        }
        place.sweep("s", "0.5", "{task: wikitext2, data: ./rows.txt, seqlen: 32}");
        place
    }

    /// A path in the folder.
    pub fn at(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// From now on every process of this place has these variables too.
    pub fn add_environment(&mut self, variables: Vec<(String, String)>) {
        self.environment.extend(variables);
    }

    /// From now on programs of this place are those of this folder: another version's.
    ///
    /// # Panics
    /// If a test panicked meanwhile.
    pub fn programs(&self, folder: Option<&Path>) {
        *self.programs.lock().expect("nothing panics while it holds this") = folder.map(Path::to_owned);
    }

    /// A program of the version that is used now.
    ///
    /// # Panics
    /// If it is not there.
    pub fn program(&self, name: &str) -> PathBuf {
        let folder = self.programs.lock().expect("nothing panics while it holds this").clone();
        folder.map_or_else(|| binary(name), |folder| folder.join(name))
    }

    /// What [`Self::add_environment`] added.
    pub fn environment(&self) -> &[(String, String)] {
        &self.environment
    }

    /// Writes the sweep file `<name>.yaml`: dense and wanda at `sparsity`, on `first` and on CommonsenseQA.
    pub fn sweep(&self, name: &str, sparsity: &str, first: &str) {
        let text = format!(
            "name: {name}\nbackend: cpu\nmodels: [./model]\n\
             calibration: {{data: ./rows.txt, nsamples: 2, seqlen: 32}}\n\
             recipes:\n  - {{method: wanda, sparsity: [{sparsity}]}}\n\
             tasks:\n  - {first}\n  - {{task: commonsense_qa, data: ./cs.jsonl, limit: 4}}\n"
        );
        self.write(&format!("{name}.yaml"), &text);
    }

    /// Writes a file of the folder.
    ///
    /// # Panics
    /// If it cannot be written.
    pub fn write(&self, name: &str, text: &str) {
        std::fs::write(self.at(name), text).expect("a file of the folder can be written");
    }

    /// Replaces every `from` in a file of the folder, which must hold it.
    ///
    /// # Panics
    /// If it does not, or cannot be read and written.
    pub fn replace(&self, name: &str, from: &str, to: &str) {
        let text = std::fs::read_to_string(self.at(name)).expect("a file of the folder can be read");
        assert!(text.contains(from), "{name} holds no {from:?}");
        self.write(name, &text.replace(from, to));
    }

    /// Changes the model's config.json.
    ///
    /// # Panics
    /// If it is no JSON.
    pub fn config(&self, change: impl FnOnce(&mut Value)) {
        let path = self.at("model/config.json");
        let mut value = serde_json::from_slice(&std::fs::read(&path).expect("config.json is there"))
            .expect("config.json is JSON");
        change(&mut value);
        std::fs::write(path, value.to_string()).expect("config.json can be written");
    }

    /// Changes the header of the model's safetensors; the weights stay as they are.
    ///
    /// # Panics
    /// If it is none.
    pub fn header(&self, change: impl FnOnce(&mut Value)) {
        let (mut header, data) = self.weights();
        change(&mut header);
        self.write_weights(&header, &data);
    }

    /// Puts NaN where the first weight of `tensor` (float32) was.
    ///
    /// # Panics
    /// If there is no such tensor.
    pub fn poison(&self, tensor: &str) {
        let (header, mut data) = self.weights();
        let start = header[tensor]["data_offsets"][0].as_u64().expect("the tensor is there") as usize;
        data[start..start + 4].copy_from_slice(&f32::NAN.to_le_bytes());
        self.write_weights(&header, &data);
    }

    fn weights(&self) -> (Value, Vec<u8>) {
        let bytes = std::fs::read(self.safetensors()).expect("the weights can be read");
        let length = u64::from_le_bytes(bytes[..8].try_into().expect("eight bytes")) as usize;
        let header = serde_json::from_slice(&bytes[8..8 + length]).expect("the header is JSON");
        (header, bytes[8 + length..].to_vec())
    }

    fn write_weights(&self, header: &Value, data: &[u8]) {
        let mut header = header.to_string();
        // The data stays aligned.
        header.push_str(&" ".repeat(header.len().next_multiple_of(8) - header.len()));
        let length = (header.len() as u64).to_le_bytes();
        let bytes = [&length, header.as_bytes(), data].concat();
        std::fs::write(self.safetensors(), bytes).expect("the weights can be written");
    }

    /// The model's only weights file.
    pub fn safetensors(&self) -> PathBuf {
        self.at("model/model.safetensors")
    }

    /// `espalier` in the folder, with a home and caches of its own, its bucket `out`.
    pub fn command(&self, args: &[&str]) -> Command {
        let mut command = called(&self.program("espalier"), args);
        command.current_dir(self.folder.path()).env("ESPALIER_BUCKET", "out").env("HOME", self.at("home"));
        for name in [
            "XDG_CACHE_HOME",
            "XDG_STATE_HOME",
            "HF_HOME",
            "HF_HUB_CACHE",
            "HF_TOKEN",
            "HF_TOKEN_PATH",
            "HF_ENDPOINT",
        ] {
            command.env_remove(name);
        }
        command.envs(self.environment.iter().map(|(name, value)| (name, value)));
        command
    }

    /// Runs `espalier` in the folder to its end.
    ///
    /// # Panics
    /// If it does not start.
    pub fn espalier(&self, args: &[&str]) -> Output {
        self.command(args).output().expect("the binary starts")
    }

    /// `espalier` with these arguments ends with `code`, says all of `needles`, panics nowhere.
    ///
    /// # Panics
    /// If not.
    pub fn ends(&self, args: &[&str], code: i32, needles: &[&str]) -> String {
        ended(args, &self.espalier(args), code, needles)
    }

    /// `plan` refuses the sweep as bad input, says all of `needles`, and leaves no bucket behind.
    ///
    /// # Panics
    /// If not.
    pub fn plan_refuses(&self, needles: &[&str]) -> String {
        let said = self.ends(&["plan", "s.yaml"], 3, needles);
        assert!(said.lines().any(|l| l.starts_with("error: ")), "{said}");
        assert!(!self.at("out").exists(), "plan left a bucket: {said}");
        said
    }

    /// Cell records in the bucket.
    pub fn cells(&self) -> usize {
        let records = files(&self.at("out/cells"), "json");
        records.iter().filter(|p| p.file_name() == Some("record.json".as_ref())).count()
    }

    /// Every record of this kind in the bucket.
    ///
    /// # Panics
    /// If one cannot be read.
    pub fn records(&self, kind: &str) -> Vec<Value> {
        let paths = files(&self.at("out").join(kind), "json").into_iter();
        paths.filter(|p| p.ends_with("record.json")).map(|p| read_json(&p)).collect()
    }

    /// Failures in the bucket, as words of the closed list.
    ///
    /// # Panics
    /// If one cannot be read.
    pub fn failures(&self) -> Vec<String> {
        let paths = files(&self.at("out/failures"), "json").into_iter();
        paths.map(|p| read_json(&p)["code"].as_str().expect("a failure has a code").to_owned()).collect()
    }

    /// The results of a sweep, as CSV.
    ///
    /// # Panics
    /// If there is no report.
    pub fn results(&self, sweep: &str) -> String {
        let path = self.at(&format!("out/sweeps/{sweep}/report/results.csv"));
        std::fs::read_to_string(path).expect("the sweep has a report")
    }

    /// The bytes of every `results.*` of a sweep's last report.
    ///
    /// # Panics
    /// If there is no report.
    pub fn all_results(&self, sweep: &str) -> BTreeMap<String, Vec<u8>> {
        results_in(&self.at(&format!("out/sweeps/{sweep}/report")))
    }

    /// Names in a folder of this folder, sorted; hidden ones too.
    ///
    /// # Panics
    /// If it cannot be read.
    pub fn names(&self, folder: &str) -> Vec<String> {
        names(&self.at(folder))
    }
}

/// Prints a log's last lines.
fn print_end(log: &Path) {
    let text = std::fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    println!("---- {}", log.display());
    lines.iter().skip(lines.len().saturating_sub(40)).for_each(|line| println!("{line}"));
}

fn read_json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).expect("it is there")).expect("it is JSON")
}

/// Names in a folder, sorted; hidden ones too.
///
/// # Panics
/// If it cannot be read.
pub fn names(folder: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(folder).expect("the folder can be read").flatten();
    let mut names: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    names.sort();
    names
}

fn copy_folder(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).expect("a folder can be made");
    for name in names(from) {
        std::fs::copy(from.join(&name), to.join(&name)).expect("a golden file can be copied");
    }
}

/// The bytes of every `results.*` in a report's folder, by name.
///
/// # Panics
/// If they cannot be read.
pub fn results_in(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let named = names(folder).into_iter().filter(|name| name.starts_with("results."));
    named
        .map(|name| (name.clone(), std::fs::read(folder.join(name)).expect("a report can be read")))
        .collect()
}
