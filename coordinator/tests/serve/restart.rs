//! A coordinator that starts over a bucket with many records. `make bench-coordinator` prints how long it takes with a million.

use crate::harness::{cell_record, commit_variant, sweep, variant_record};
use crate::scale::{Coordinator, number, until};
use espalier::records::{Present, generation, present};
use espalier::serve::epoch::Epoch;
use espalier::serve::log;
use espalier::store::repair::repair;
use espalier_proto::bucket::{Bucket, json_bytes};
use espalier_proto::layout;
use espalier_proto::sweep::ResolvedSweep;
use std::path::Path;
use std::time::Instant;

fn write(root: &Path, path: &object_store::path::Path, body: &[u8]) {
    let file = root.join(path.as_ref());
    std::fs::create_dir_all(file.parent().unwrap()).unwrap();
    std::fs::write(file, body).unwrap();
}

/// Writes every record of a sweep, without waiting for the disk.
fn write_records(root: &Path, sweep: &ResolvedSweep) {
    for variant in &sweep.variants {
        let record = variant_record(&variant.spec, "main-1-1");
        write(root, &layout::variant_record(variant.key), &json_bytes(&record));
    }
    for cell in &sweep.cells {
        let record = cell_record(cell.variant, cell.inputs, "main-1-1");
        write(root, &layout::cell_record(cell.key), &json_bytes(&record));
    }
}

fn in_memory_if_there_is_any() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.unwrap()
}

#[tokio::test]
async fn a_segment_says_what_its_records_say_until_one_of_them_is_deleted() {
    let folder = in_memory_if_there_is_any();
    let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
    let sweep = sweep(&bucket, 1_000, 5).await;
    let me = Epoch { instance: "main".parse().unwrap(), n: 1, probe_nonce: String::new() };
    log::submit(&bucket, &me, &sweep, None, false).await.unwrap();
    write_records(folder.path(), &sweep);
    let whole = present(&bucket, &sweep, true).await.unwrap();
    assert_eq!((whole.variants.len(), whole.cells.len(), whole.stale.len()), (1_000, 5_000, 0));
    assert_eq!(bucket.list(&layout::segments(&sweep.name)).await.unwrap().len(), 2, "keys and bodies");
    // Only the segment is left to say it: it is what was read.
    let (records, hidden) = (folder.path().join("cells"), folder.path().join("hidden"));
    std::fs::rename(&records, &hidden).unwrap();
    assert_eq!(present(&bucket, &sweep, true).await.unwrap(), whole);
    let all = espalier::records::committed(&bucket, &sweep).await.unwrap();
    assert_eq!(Present::from(&all), whole);
    let cell = &sweep.cells[17];
    assert_eq!(all.cells[&cell.key], cell_record(cell.variant, cell.inputs, "main-1-1"));
    // A copy without segments says no more than its records do, though its generation was copied along: what the backup's segments name
    // and the copy lacks is missing there.
    let (segments, kept) = (folder.path().join("sweeps/demo/segments"), folder.path().join("kept"));
    let name = sweep.name.as_str();
    let pattern = layout::segments(&sweep.name).as_ref().replace(name, "*");
    let runbook = include_str!("../../../deploy/README.md");
    assert!(runbook.contains(&format!("--exclude '{pattern}/*'")), "the runbook copies segments, {pattern}");
    std::fs::rename(&segments, &kept).unwrap();
    assert_eq!(present(&bucket, &sweep, true).await.unwrap().cells.len(), 0);
    std::fs::rename(&hidden, &records).unwrap();
    assert_eq!(present(&bucket, &sweep, false).await.unwrap(), whole);
    std::fs::rename(&kept, &segments).unwrap();
    // A damaged record is deleted by a repair, and its segment is believed no more. That nobody put the model there is told too.
    write(folder.path(), &layout::cell_record(cell.key), b"{}");
    let before = generation::current(&bucket).await.unwrap();
    let damaged = repair(&bucket, &sweep.name, false).await.unwrap().damaged;
    assert_eq!(damaged.iter().map(|d| d.kind).collect::<Vec<_>>(), ["cell", "model"]);
    assert_ne!(generation::current(&bucket).await.unwrap(), before);
    let less = present(&bucket, &sweep, false).await.unwrap();
    assert!(less.cells.len() == 4_999 && !less.cells.contains(&cell.key));
    // A variant that comes out otherwise makes its cells stale, segments or not.
    assert_eq!(present(&bucket, &sweep, true).await.unwrap(), less);
    let variant = &sweep.variants[3];
    generation::deleting(&bucket, bucket.delete(&layout::variant_record(variant.key))).await.unwrap();
    commit_variant(&bucket, &sweep.variants[4].spec, "main-1-2").await;
    assert_eq!(present(&bucket, &sweep, true).await.unwrap().variants.len(), 999);
}

#[test]
#[ignore = "measures, and only an optimized build is worth measuring; make bench-coordinator runs it"]
fn how_long_a_start_takes_over_a_million_records() {
    let records = number("RECORDS", 1_000_000);
    let (tasks, variants) = (9, records / 10);
    let folder = tempfile::tempdir().unwrap();
    let bucket = Bucket::open(folder.path().to_str().unwrap()).unwrap();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let sweep = runtime.block_on(async {
        let sweep = sweep(&bucket, variants, tasks).await;
        let me = Epoch { instance: "main".parse().unwrap(), n: 1, probe_nonce: String::new() };
        log::submit(&bucket, &me, &sweep, None, false).await.unwrap();
        sweep
    });
    let since = Instant::now();
    write_records(folder.path(), &sweep);
    println!("{records} records written in {:.0} s", since.elapsed().as_secs_f64());
    for what in ["without segments", "with segments", "with segments"] {
        let since = Instant::now();
        let coordinator = Coordinator::start(&bucket);
        let asked = Instant::now();
        until("it is ready", || coordinator.is_ready());
        let (cpu, rss) = coordinator.spent();
        println!(
            "{what}: ready after {:.2} s ({:.2} s after it listens), {:.2} s of processor time, {rss:.0} MiB",
            since.elapsed().as_secs_f64(),
            asked.elapsed().as_secs_f64(),
            cpu.as_secs_f64()
        );
        let done = coordinator.metrics()["espalier_cells{sweep=\"demo\",state=\"done\"}"];
        assert_eq!(done, (variants * tasks) as f64);
        until("the segments are written", || {
            let segments = folder.path().join("sweeps/demo/segments");
            std::fs::read_dir(segments).is_ok_and(|files| files.count() >= 2 * records.div_ceil(50_000))
        });
    }
    let size = |part: &str| {
        let files = std::fs::read_dir(folder.path().join("sweeps/demo/segments")).unwrap().flatten();
        files
            .filter(|f| f.path().to_string_lossy().contains(part))
            .map(|f| f.metadata().unwrap().len())
            .sum::<u64>()
    };
    println!(
        "segments: {} MB of keys, {} MB of bodies",
        size(".keys.") / 1_000_000,
        size(".bodies.") / 1_000_000
    );
}
