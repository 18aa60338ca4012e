//! Folders that cannot be written: non-empty, read-only, on a full disk, gone. What is written is whole or absent, and nothing that
//! was there is lost.
//!
//! Read-only and full disks are small tmpfs mounts in a mount namespace of the test's own thread, which its children inherit
//! and which ends with it. Where that is not permitted these tests say so and check nothing.

use espalier_tests::cluster::{Cluster, Process, spawned, until};
use espalier_tests::files;
use espalier_tests::sweeps::{Place, names};
use std::ffi::CString;
use std::io::Write;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Stdio;

const PRUNE: &str = "prune --model model --sparsity-ratio 0.5 --calibration rows.txt --nsamples 2 --seqlen 32 --devices cpu:1";

fn prune<'a>(more: &[&'a str]) -> Vec<&'a str> {
    PRUNE.split(' ').chain(more.iter().copied()).collect()
}

/// Puts an empty tmpfs of `size` over `folder` for this thread and its children; false, said loudly, where that is not permitted.
fn mounted(folder: &Path, size: &str, read_only: bool) -> bool {
    std::fs::create_dir_all(folder).unwrap();
    let text = |s: &[u8]| CString::new(s).unwrap();
    let (tmpfs, root, at) = (text(b"tmpfs"), text(b"/"), text(folder.as_os_str().as_bytes()));
    let options = text(format!("size={size}").as_bytes());
    let flags = if read_only { libc::MS_RDONLY } else { 0 };
    // SAFETY: every pointer is a string that outlives the call, or null where the kernel takes none.
    let done = unsafe {
        libc::unshare(libc::CLONE_NEWNS) == 0
            && libc::mount(
                std::ptr::null(),
                root.as_ptr(),
                std::ptr::null(),
                libc::MS_REC | libc::MS_PRIVATE,
                std::ptr::null(),
            ) == 0
            && libc::mount(tmpfs.as_ptr(), at.as_ptr(), tmpfs.as_ptr(), flags, options.as_ptr().cast()) == 0
    };
    if !done {
        let why = std::io::Error::last_os_error();
        // The harness keeps what a passing test prints; this goes past it.
        let _ = writeln!(
            std::io::stderr(),
            "\n*** SKIPPED: a tmpfs cannot be mounted here ({why}): that takes root ***\n"
        );
    }
    done
}

#[test]
fn a_folder_that_holds_something_is_refused_before_the_work_and_stays_as_it_is() {
    let place = Place::new("phi-nobos");
    std::fs::create_dir(place.at("full")).unwrap();
    place.write("full/mine.txt", "mine");
    place.ends(&prune(&["--save-model", "full"]), 3, &["full cannot be written: it is not empty"]);
    place.ends(&prune(&["--save-model", "rows.txt"]), 3, &["rows.txt cannot be written"]);
    assert_eq!(place.names("full"), ["mine.txt"]);
    assert!(!place.at("out").exists());
}

#[test]
fn an_export_to_a_folder_that_another_has_filled_meanwhile_says_so() {
    let place = Place::new("phi-nobos");
    place.ends(&["run", "s.yaml"], 0, &[]);
    // Stopped where it has looked at the place and not come to its end, which takes some luck.
    for n in 0..50 {
        let to = format!("x{n}");
        let args = ["export", "wanda-0.5-s0", "--sweep", "s", "--to", to.as_str()];
        let mut first = spawned(&place, "first", place.command(&args));
        let partial = place.at(&format!(".{to}.partial-{}", first.0.id()));
        while !partial.exists() && !place.at(&to).exists() && first.0.try_wait().unwrap().is_none() {}
        first.signal(libc::SIGSTOP);
        if place.at(&to).exists() {
            first.signal(libc::SIGCONT);
            assert_eq!(first.0.wait().unwrap().code(), Some(0));
            continue;
        }
        place.ends(&args, 0, &["is in x"]);
        first.signal(libc::SIGCONT);
        assert_eq!(first.0.wait().unwrap().code(), Some(3));
        let said = std::fs::read_to_string(place.at("first.log")).unwrap();
        assert!(
            said.contains(&format!("{to} cannot be written: it was empty or absent, and meanwhile")),
            "{said}"
        );
        assert!(!partial.exists());
        return;
    }
    panic!("no export was stopped in time");
}

#[test]
fn export_equals_prunes_folder_and_refuses_one_that_holds_something() {
    let place = Place::new("phi-nobos");
    place.ends(&prune(&["--save-model", "pruned"]), 0, &["pruned model: pruned"]);
    let to = |folder: &'static str| ["export", "wanda-0.5-s0", "--to", folder];
    place.ends(&to("exported"), 0, &["wanda-0.5-s0 of model is in exported"]);
    let files = place.names("pruned");
    assert_eq!(files, ["config.json", "model.safetensors", "tokenizer.json", "tokenizer_config.json"]);
    assert_eq!(files, place.names("exported"));
    for file in &files {
        let read = |folder: &str| std::fs::read(place.at(folder).join(file)).unwrap();
        assert!(read("pruned") == read("exported"), "{file} differs");
    }
    assert_ne!(
        std::fs::read(place.at("pruned/model.safetensors")).unwrap(),
        std::fs::read(place.safetensors()).unwrap()
    );
    // Again into the same folder: nothing is overwritten.
    place.ends(&to("exported"), 3, &["exported cannot be written: it is not empty"]);
    place.ends(
        &["export", "wanda-0.6-s0", "--to", "x"],
        3,
        &["has no variant wanda-0.6-s0; it has: ", "wanda-0.5-s0"],
    );
    assert!(!place.at("x").exists());
    // The base has changed since: what would be written is no variant of it.
    place.poison("model.layers.0.mlp.fc1.weight");
    place.ends(&to("x"), 3, &["holds model ", "the variant was made of", "--base"]);
    assert!(!place.at("x").exists());
}

#[test]
fn a_read_only_folder_is_refused_before_the_work() {
    let place = Place::new("phi-nobos");
    if !mounted(&place.at("ro"), "1m", true) {
        return;
    }
    for option in ["--save-model", "--save"] {
        place.ends(
            &prune(&[option, "ro/pruned"]),
            3,
            &["ro/pruned cannot be written: Read-only file system"],
        );
        assert!(!place.at("out").exists());
    }
    place.ends(&["run", "s.yaml", "--bucket", "ro/out"], 5, &["ro/out", "Read-only file system"]);
    place.ends(&["plan", "s.yaml", "--bucket", "ro/out"], 5, &["ro/out", "Read-only file system"]);
    assert!(names(&place.at("ro")).is_empty());
}

#[test]
fn a_full_disk_leaves_no_part_of_a_model_and_what_is_finished_stays() {
    let place = Place::new("phi-nobos");
    if !mounted(&place.at("small"), "64k", false) {
        return;
    }
    place.ends(
        &prune(&["--save-model", "small/pruned"]),
        3,
        &["small/", "no space left", "nothing was kept"],
    );
    assert!(names(&place.at("small")).is_empty(), "{:?}", names(&place.at("small")));
    // The work is in the bucket: with room it is only written.
    place.ends(&prune(&["--save-model", "pruned"]), 0, &["nothing was run", "pruned model: pruned"]);
    place.ends(
        &["export", "wanda-0.5-s0", "--to", "small/pruned"],
        3,
        &["no space left", "nothing was kept"],
    );
    assert!(names(&place.at("small")).is_empty(), "{:?}", names(&place.at("small")));
}

#[test]
fn a_bucket_on_a_full_disk_is_told_loses_nothing_and_goes_on_when_there_is_room() {
    let place = Place::new("phi-nobos");
    if !mounted(&place.at("small"), "1m", false) {
        return;
    }
    let (filler, bucket) = (place.at("small/filler"), ["run", "s.yaml", "--bucket", "small/out"]);
    // Writes until nothing more goes in.
    let fill = || {
        let mut file = std::fs::File::create(&filler).unwrap();
        while file.write_all(&[0; 512]).is_ok() {}
    };
    // No room for a single file.
    fill();
    place.ends(&bucket, 5, &["error: bucket", "No space left on device"]);
    std::fs::remove_file(&filler).unwrap();
    // Room for what a run begins with, none for results.
    let heard = place.at("heard");
    let said = || std::fs::read_to_string(&heard).unwrap();
    let mut command = place.command(&bucket);
    command.env("ESPALIER_TEST_FAULTS", "slow=300");
    command.stdout(Stdio::null()).stderr(std::fs::File::create(&heard).unwrap());
    let mut run = command.spawn().unwrap();
    until("a worker is started", || {
        !files(&place.at("small/out/coordinators/run.s/workers"), "log").is_empty()
    });
    fill();
    until("the full disk is told", || said().contains("store_error") || run.try_wait().unwrap().is_some());
    assert!(said().contains("No space left on device"), "{}", said());
    assert!(run.try_wait().unwrap().is_none(), "{}", said());
    std::fs::remove_file(&filler).unwrap();
    assert_eq!(run.wait().unwrap().code(), Some(0), "{}", said());
    assert!(said().contains("4 of 4 cells done"), "{}", said());
}

#[test]
fn a_bucket_that_is_moved_away_is_waited_for_and_nothing_is_made_in_its_place() {
    let place = Place::new("phi-nobos");
    let cluster = Cluster::start(&place, &[]);
    let _worker = cluster.worker_with("w", &[("ESPALIER_TEST_FAULTS", "slow=500")]);
    cluster.ends(&["submit", "s.yaml"], 0, &[]);
    let status = || cluster.json(&["status"]);
    until("a cell has begun", || status()["workers"].to_string().contains("wikitext2"));
    std::fs::rename(place.at("out"), place.at("away")).unwrap();
    let mut pause = place.command(&["pause", "s"]);
    pause.env("ESPALIER_COORDINATOR", &cluster.url).stdout(Stdio::null());
    let mut pause = Process(pause.spawn().unwrap());
    until("both tell it", || {
        let said = "the bucket is away: the folder ";
        status()["trouble"].to_string().contains(said) && cluster.log("w").contains(said)
    });
    assert!(pause.0.try_wait().unwrap().is_none(), "what cannot be kept is not acknowledged");
    assert!(!place.at("out").exists(), "nothing is made where it was");
    std::fs::rename(place.at("away"), place.at("out")).unwrap();
    assert_eq!(pause.0.wait().unwrap().code(), Some(0));
    cluster.ends(&["resume", "s"], 0, &[]);
    cluster.ends(&["watch", "s"], 0, &["4 of 4 cells done"]);
    until("all is well", || status()["trouble"] == serde_json::json!([]));
    assert!(!place.at("out/failures").exists(), "nobody failed: {}", cluster.log("w"));
}
