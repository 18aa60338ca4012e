"""Espalier and `huggingface_hub` share one cache: each reads what the other has fetched, fetches nothing twice, and finds nothing wrong with it.

    .venv-python/bin/python tests/python/hub_cache.py target/debug

The hub is one on this machine (`hub_server.py`); the model and the dataset are the goldens'.
"""

import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

# Read when the library is imported: its user's ways to a hub are not this test's, and no proxy leads to this machine.
for name in [name for name in os.environ if name.startswith(("HF_", "HUGGING", "ESPALIER_"))]:
    del os.environ[name]
os.environ["NO_PROXY"] = "127.0.0.1,localhost"

import huggingface_hub
from huggingface_hub import HfApi, scan_cache_dir, snapshot_download
from huggingface_hub.utils import WeakFileLock, disable_progress_bars

from hub_server import Repository, etag, serve

SCORING = Path(__file__).resolve().parents[2] / "tests/goldens/scoring"
MODEL, DATA = "espalier-tests/phi", "espalier-tests/questions"
FOLDER = SCORING / "phi-nobos"
# What a model has besides, and Espalier fetches none of.
BESIDES = {"README.md": b"what it is", "pytorch_model.bin": b"nobody needs this" * 400}
CONVERTED = "refs/convert/parquet"
SWEEP = f"""\
name: cache
backend: cpu
models: [hf://{MODEL}]
recipes: [{{method: magnitude, sparsity: [0.5]}}]
tasks: [{{task: commonsense_qa, style: cloze, limit: 2, data: "hf://{DATA}"}}]
"""


class Place:
    """A home whose cache is `cache`, and a sweep in it."""

    def __init__(self, folder, binaries):
        self.folder, self.binaries = folder, binaries
        self.cache = folder / "hf/hub"
        folder.mkdir()
        (folder / "sweep.yaml").write_text(SWEEP)

    def start(self, command, hub=None):
        own = {"HOME": str(self.folder), "HF_HOME": str(self.folder / "hf")}
        own |= {"HF_ENDPOINT": hub.endpoint} if hub else {"HF_HUB_OFFLINE": "1"}
        args = [self.binaries / "espalier", command, self.folder / "sweep.yaml", "--bucket", self.folder / "bucket"]
        return subprocess.Popen(args, env=os.environ | own, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)

    def ends(self, command, hub=None):
        """Its code and what it said."""
        process = self.start(command, hub)
        said, _ = process.communicate(timeout=300)
        return process.returncode, said

    def scanned(self):
        """The library's own look at the cache: its warnings, and every file with its revision, its blob and what refers to it."""
        found = scan_cache_dir(self.cache)
        files = {
            (repo.repo_type, repo.repo_id, revision.commit_hash, tuple(sorted(revision.refs)), file.file_path.relative_to(revision.snapshot_path).as_posix(),
             file.blob_path.name, file.size_on_disk)
            for repo in found.repos for revision in repo.revisions for file in revision.files
        }
        return found.warnings, files

    def layout(self):
        """Every path of the repositories' three folders, with where a link leads. What the library keeps beside them for itself (listings, a tag for
        backups) and locks, which each makes as it needs them, are none of it."""
        paths = [p for part in ("blobs", "refs", "snapshots") for p in self.cache.glob(f"*--*/{part}/**/*") if not p.is_dir()]
        return {str(p.relative_to(self.cache)): os.readlink(p) if p.is_symlink() else "" for p in paths}


def repositories():
    model = {p.name: p.read_bytes() for p in FOLDER.iterdir()} | BESIDES
    questions = (SCORING / "data/hf/commonsense_qa.parquet").read_bytes()
    # One blob, linked twice.
    data = {"default/validation/0000.parquet": questions, "default/train/0000.parquet": questions}
    return [
        Repository(f"models/{MODEL}", "main", model),
        Repository(f"datasets/{DATA}", "main", {"questions.py": b"raise SystemExit"}),
        Repository(f"datasets/{DATA}", CONVERTED, data),
    ]


def library_fetches(place, hub, **only):
    """As a user of the library fetches the two: all of the model but what Espalier has no use for, the data at the conversion."""
    library = HfApi(endpoint=hub.endpoint)
    folder = library.snapshot_download(MODEL, cache_dir=place.cache, ignore_patterns=list(BESIDES), **only)
    data = library.snapshot_download(DATA, repo_type="dataset", revision=CONVERTED, cache_dir=place.cache, **only)
    return Path(folder), Path(data)


def check_all(check, binaries):
    disable_progress_bars()
    print(f"     huggingface_hub {huggingface_hub.__version__}")
    repos = repositories()
    commits = {repo.revision: repo.commit for repo in (repos[0], repos[2])}
    with tempfile.TemporaryDirectory() as work, serve(repos) as hub:
        theirs, ours = Place(Path(work, "theirs"), binaries), Place(Path(work, "ours"), binaries)
        library_fetches(theirs, hub)
        before = theirs.layout()
        code, said = theirs.ends("run")
        check("espalier runs offline on what huggingface_hub fetched", code == 0, said if code else "")
        resolved = "".join(p.read_text() for p in (theirs.folder / "bucket").glob("sweeps/cache/specs/*.json"))
        check("the sweep is pinned to the commit in its cache", f"hf://{MODEL}@{commits['main']}" in resolved, resolved[:400])
        hub.asked.clear()
        code, said = theirs.ends("plan", hub)
        check("with a network it asks for nothing that is there", code == 0 and not hub.asked, f"{hub.asked} {said if code else ''}")
        check("and leaves the cache as it was", theirs.layout() == before, str(theirs.layout().items() ^ before.items()))

        code, said = ours.ends("plan", hub)
        check("espalier fetches the same into an empty cache", code == 0, said if code else "")
        warnings, files = ours.scanned()
        check("scan_cache_dir has no warning", warnings == [], str(warnings))
        check("and finds what it finds in its own cache", files == theirs.scanned()[1], str(files ^ theirs.scanned()[1]))
        check("file by file and link by link", ours.layout() == before, str(ours.layout().items() ^ before.items()))
        folder = Path(snapshot_download(MODEL, cache_dir=ours.cache, local_files_only=True))
        data = Path(snapshot_download(DATA, repo_type="dataset", revision=CONVERTED, cache_dir=ours.cache, local_files_only=True))
        same = all((folder / p.name).read_bytes() == p.read_bytes() for p in FOLDER.iterdir())
        same &= (data / "default/validation/0000.parquet").read_bytes() == repos[2].files["default/validation/0000.parquet"]
        check("huggingface_hub reads it offline", same and folder.name == commits["main"] and data.name == commits[CONVERTED])
        hub.asked.clear(), hub.sent.clear()
        library_fetches(ours, hub)
        bodies = [path for method, path in hub.asked if method == "GET" and "/resolve/" in path] + hub.sent
        check("and with a network it fetches no body again", not bodies, str(bodies))

        check_waiting(check, hub, Place(Path(work, "waiting"), binaries))
        check_halves(check, hub, Place(Path(work, "halves"), binaries), before)


def check_waiting(check, hub, place):
    """A file that the library is fetching is waited for."""
    blob = etag((FOLDER / "model.safetensors").read_bytes())
    lock = place.cache / ".locks" / f"models--{MODEL.replace('/', '--')}" / f"{blob}.lock"
    lock.parent.mkdir(parents=True)
    with WeakFileLock(lock):
        process = place.start("plan", hub)
        time.sleep(3)
        waits = process.poll() is None and not any(blob in path for path in place.layout())
    said, _ = process.communicate(timeout=60)
    check("espalier waits for the lock that huggingface_hub holds", waits and process.returncode == 0, said)


def check_halves(check, hub, place, whole):
    """What the library left half done is made whole."""
    HfApi(endpoint=hub.endpoint).snapshot_download(MODEL, cache_dir=place.cache, allow_patterns=["config.json", "tokenizer*"])
    code, said = place.ends("plan", hub)
    check("espalier fetches what huggingface_hub left out", code == 0 and place.layout() == whole, said if code else str(place.layout().items() ^ whole.items()))
    check("and scan_cache_dir has no warning", place.scanned()[0] == [])


if __name__ == "__main__":
    failed = []

    def told(name, fine, detail=""):
        print(f"{'ok  ' if fine else 'FAIL'} {name} {detail if not fine else ''}", flush=True)
        if not fine:
            failed.append(name)

    check_all(told, Path(sys.argv[1]).resolve())
    sys.exit(1 if failed else 0)
