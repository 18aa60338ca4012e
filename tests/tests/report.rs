//! The report of a sweep: what its files hold, and what must not change them. On made-up records; no model is run.

use espalier::merge::collect::{Found, collect};
use espalier::report::write::{Report, write_report};
use espalier_proto::bucket::Bucket;
use espalier_proto::ids::Digest;
use espalier_proto::layout;
use espalier_proto::records::FailureCode;
use espalier_proto::sweep::{LOG_FORMAT, LogEntry, LogEvent};
use espalier_tests::synthetic::{Synthetic, synthetic};

const RESULTS: [&str; 4] = ["results.csv", "results.json", "results.md", "results.html"];

fn found(made: &Synthetic) -> Found {
    let mut found = Found::empty(made.sweep.clone());
    found.variants = made.variants.iter().map(|r| (r.key, r.clone())).collect();
    found.cells = made.cells.iter().map(|r| (r.key, r.clone())).collect();
    found
}

fn bucket(folder: &tempfile::TempDir) -> Bucket {
    Bucket::open(folder.path().to_str().expect("the path is text")).expect("a folder opens")
}

#[tokio::test]
async fn the_report_in_a_bucket_is_the_same_whatever_order_records_came_in_and_whoever_made_them() {
    let straight = synthetic(1);
    let mut shuffled = straight.clone();
    shuffled.cells.reverse();
    shuffled.variants.rotate_left(5);
    for record in &mut shuffled.cells {
        record.attempt = "main-7-31".parse().expect("it is an attempt");
        record.measured.device = "device-b".to_owned();
        record.measured.fingerprint = "device-b".to_owned();
        record.measured.ended = "2027-01-01T00:00:00Z".to_owned();
        record.measured.seconds.insert("evaluate".to_owned(), 1e4);
    }
    let mut reports = Vec::new();
    for made in [&straight, &shuffled] {
        let folder = tempfile::tempdir().expect("a folder");
        let bucket = bucket(&folder);
        made.write(&bucket).await;
        let found = collect(&bucket, &made.sweep.name).await.expect("the sweep is there");
        let report = Report::new(&found, None);
        let index =
            write_report(&bucket, &made.sweep.name, &report).await.expect("the bucket takes the report");
        let read =
            |name: &str| std::fs::read_to_string(folder.path().join("sweeps/synthetic/report").join(name));
        assert!(std::path::Path::new(&index).is_file(), "{index}");
        for (name, text) in &report.files {
            assert_eq!(&read(name).expect("the file is there"), text, "{name}");
        }
        let root = folder.path().to_str().expect("the path is text");
        for name in RESULTS {
            let text = report.file(name).expect("the report has the file");
            for word in
                [root, "main-7", "run.synthetic", "device-b", "2026-", "2027-", "a CPU", "/models/", "/home/"]
            {
                assert!(!text.contains(word), "{name} holds {word:?}");
            }
            let words = ["model phi-like", "org/cosmos_qa@", "c4.jsonl"];
            let told = words.map(|word| text.contains(word));
            assert_eq!(told, [name.ends_with(".md") || name.ends_with(".html"); 3], "{name}");
        }
        reports.push(report);
    }
    for name in RESULTS {
        assert!(reports[0].file(name) == reports[1].file(name), "{name} differs");
    }
    assert_ne!(reports[0].file("costs.csv"), reports[1].file("costs.csv"));
}

#[test]
fn results_csv_has_the_columns_that_users_read_by_name_and_floats_that_read_back() {
    let made = synthetic(1);
    let report = Report::new(&found(&made), None);
    let text = report.file("results.csv").expect("the report has it");
    let columns = "sweep,model,method,sparsity,target_sparsity,measured_sparsity,calibration,seed,task,style,split,\
                   fewshot,metric,value,ci_low,ci_high,stderr,n,truncated,status,reason,cell_key\n";
    assert!(text.starts_with(columns), "{}", text.lines().next().unwrap_or_default());
    assert!(!text.contains("NaN") && !text.contains("inf"));
    let mut reader = csv::Reader::from_reader(text.as_bytes());
    let json: serde_json::Value =
        serde_json::from_str(report.file("results.json").expect("the report has it")).expect("it is JSON");
    assert_eq!(json["schema"], "espalier.results/1");
    let cells = json["cells"].as_array().expect("cells are a list");
    let rows: Vec<csv::StringRecord> = reader.records().map(|r| r.expect("a row")).collect();
    assert_eq!(rows.len(), cells.len());
    let header = columns.trim_end().split(',').collect::<Vec<_>>();
    for (row, cell) in rows.iter().zip(cells) {
        assert_eq!(cell.as_object().expect("a cell is an object").len(), header.len());
        for (name, field) in header.iter().zip(row) {
            match &cell[*name] {
                serde_json::Value::Null => assert_eq!(field, "", "{name}"),
                serde_json::Value::String(s) => assert_eq!(field, s, "{name}"),
                number => {
                    // The reader of JSON used here may be one unit in the last place off.
                    let (csv, json) =
                        (field.parse::<f64>().expect("a number"), number.as_f64().expect("a number"));
                    assert!((csv - json).abs() <= 4.0 * f64::EPSILON * csv.abs(), "{name}: {csv} {json}");
                }
            }
        }
    }
    for (row, of_table) in rows.iter().zip(&report.table.rows) {
        assert_eq!(row[13].parse::<f64>().ok(), of_table.estimate.map(|e| e.value));
        assert_eq!(row[14].parse::<f64>().ok(), of_table.estimate.and_then(|e| e.low));
    }
}

#[tokio::test]
async fn an_unfinished_sweep_says_n_of_n_and_names_every_hole_with_its_reason() {
    let mut made = synthetic(1);
    let total = made.cells.len();
    let failed = made.cells.remove(total - 1);
    made.cells.remove(3);
    // A record on other weights than its variant's does not count.
    made.cells[10].weights = Digest::of(b"other bits");
    let other = made.cells[10].key;
    let folder = tempfile::tempdir().expect("a folder");
    let bucket = bucket(&folder);
    made.write(&bucket).await;
    let entry = LogEntry {
        format: LOG_FORMAT,
        written_by: String::new(),
        instance: made.sweep.name.local_instance(),
        epoch: 1,
        at: String::new(),
        event: LogEvent::Quarantine { key: failed.key.0, code: FailureCode::OutOfMemory },
    };
    bucket.commit_json(&layout::log_entry(&made.sweep.name, 2), &entry).await.expect("the bucket takes it");
    let report = Report::new(&collect(&bucket, &made.sweep.name).await.expect("the sweep is there"), None);
    assert_eq!((report.table.measured, report.table.cells), (total - 3, total));
    let said = format!("Unfinished: {} of {total} cells are measured, 1 failed", total - 3);
    for name in ["results.md", "results.html", "index.html"] {
        assert!(report.file(name).expect("the report has it").contains(&said), "{name}");
    }
    let csv = report.file("results.csv").expect("the report has it");
    let reason = |key: &str| {
        let line = csv.lines().find(|l| l.ends_with(key)).expect("every cell has its row");
        line.split(',').skip(13).take(8).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(reason(&failed.key.to_string()), ["", "", "", "", "", "", "failed", "out_of_memory"]);
    assert_eq!(reason(&other.to_string()), ["", "", "", "", "", "", "missing", "other_weights"]);
    assert!(csv.contains(",missing,not_run,"));
}

#[test]
fn a_perplexity_above_the_vocabulary_is_shown_as_collapsed_and_one_without_a_number_as_such() {
    let made = synthetic(1);
    let mut found = found(&made);
    let key = made.cells[0].key;
    let espalier_proto::records::Outcome::Perplexity { window_nll, .. } =
        &mut found.cells.get_mut(&key).expect("it is there").outcome
    else {
        panic!("the first task is a perplexity");
    };
    window_nll.fill(800.0);
    let report = Report::new(&found, None);
    let csv = report.file("results.csv").expect("the report has it");
    let line = csv.lines().find(|l| l.ends_with(&key.to_string())).expect("every cell has its row");
    assert!(line.contains(",ppl_token@2048,,,,,64,,collapsed,above_vocabulary,"), "{line}");
    assert!(csv.contains(",collapsed,above_vocabulary,"));
}

#[test]
fn the_pages_need_nothing_from_outside() {
    let report = Report::new(&found(&synthetic(2)), None);
    for name in ["results.html", "costs.html", "index.html"] {
        let text = report.file(name).expect("the report has it");
        for outside in ["http:", "https:", "//", "@import", "<script", "src=", "url("] {
            assert!(!text.contains(outside), "{name} holds {outside:?}");
        }
        for tag in ["section", "figure", "table", "svg", "ul", "dl", "main"] {
            let (open, close) =
                (text.matches(&format!("<{tag}")).count(), text.matches(&format!("</{tag}>")).count());
            assert_eq!(open, close, "{name}: {tag}");
        }
    }
}

#[test]
fn seeds_are_replicates_with_a_mean_and_every_one_of_them_is_in_the_tables() {
    let report = Report::new(&found(&synthetic(3)), None);
    let page = report.file("results.html").expect("the report has it");
    assert!(page.contains("s2: ") && page.contains(">mean of seeds<"));
    let csv = report.file("results.csv").expect("the report has it");
    assert_eq!(
        csv.lines()
            .filter(|l| l.contains(",wanda,0.5,")
                && l.contains("phi-like")
                && l.contains(",reclor,")
                && l.contains(",acc,"))
            .count(),
        3
    );
}

#[test]
fn a_part_of_the_grid_is_shown_alone_and_a_report_with_holes_ends_with_4() {
    use espalier_tests::sweeps::Place;
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml", "--only", "task=wikitext2"], 0, &["2 of 2 cells done"]);
    place.ends(&["report", "s"], 4, &["2 of 4 cells measured", "missing: not_run", "index.html"]);
    let whole = place.results("s");
    let only = ["report", "s", "--only", "method=wanda,task=wikitext2"];
    let said = place.ends(&only, 0, &["1 of 1 cells measured", "a part: --to DIR"]);
    assert!(!said.contains("dense") && !said.contains("commonsense_qa"), "{said}");
    place.ends(&[&only[..], &["--to", "part"]].concat(), 0, &["part/index.html"]);
    let part = std::fs::read_to_string(place.at("part/results.csv")).unwrap();
    assert_eq!(part.lines().count(), 2, "{part}");
    assert_eq!(place.results("s"), whole, "the bucket's report is of the whole sweep");
    // The file changed: other cells, of which nothing is there.
    place.ends(&["report", "s.yaml", "--limit", "3"], 4, &["0 of 4 cells measured"]);
    place.ends(&["report", "s.yaml", "--set", "tasks=[wikitext2=x]"], 2, &["wikitext2=x"]);
    place.ends(&["report", "s", "--limit", "3"], 2, &["expected the sweep's file"]);
    place.ends(&["report", "s", "--only", "task=reclor"], 2, &["a choice of no cell"]);
}
