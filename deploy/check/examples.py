"""What README.md tells its readers to write into a kustomization of their own: each piece is rendered as they would have it."""

import re
import shutil
import tempfile
from pathlib import Path

import yaml

from render import DEPLOY, KUBERNETES, name, pods, render

PIECES = re.findall(r"^```yaml\n(.*?)^```$", (DEPLOY / "README.md").read_text(), re.M | re.S)


def rendered(kubectl):
    """The whole kustomization, and it with each further piece, beside a check-out as README says; a ScaledJob's with one."""
    whole, *pieces = (yaml.safe_load(piece) for piece in PIECES)
    found = {}
    for number, piece in enumerate([{}, *pieces]):
        mine = whole | piece
        if "ScaledJob" in str(piece):
            mine["components"] = [c.replace("indexed-job", "scaled-job") for c in mine["components"]]
        if "Certificate" in str(piece):
            mine["components"] = [str(Path(mine["components"][0]).parent / "cert-manager"), *mine["components"]]
        with tempfile.TemporaryDirectory() as folder:
            own = Path(folder, "my-cluster")
            own.mkdir()
            shutil.copytree(KUBERNETES, Path(folder, "espalier", "deploy", "kubernetes"))
            (own / "kustomization.yaml").write_text(yaml.safe_dump(mine))
            found[f"README.md/{number}"] = render(kubectl, own)
    return found


def wrong(rendered):
    """A patch changes what it names and nothing beside; another namespace is another everywhere. `rendered`: as above."""
    plain, job, scaled, elsewhere = rendered.values()
    before = container(plain)
    for objects in (job, scaled):
        after = container(objects)
        idle = [e["value"] for e in after["env"] if e["name"] == "ESPALIER_IDLE_EXIT"]
        if idle != ["3600"]:
            yield f"{name(workers(objects))}: ESPALIER_IDLE_EXIT: found {idle}, expected what its patch says"
        if others(before) != others(after):
            yield f"{name(workers(objects))}: the patch of one variable changes others: {others(after)}"
    text = yaml.safe_dump_all(elsewhere)
    if left := re.findall(r"\S*espalier\.svc\S*", text):
        yield f"README.md: namespace: found {left}, expected the other namespace"
    spaces = {o["metadata"].get("namespace", o["metadata"]["name"]) for o in elsewhere}
    if len(spaces) != 1 or spaces == {"espalier"}:
        yield f"README.md: namespace: found {sorted(spaces)}, expected one other"


def workers(objects):
    return next(o for o, *_ in pods(objects) if o["metadata"]["name"] == "espalier-worker")


def container(objects):
    return next(pod["containers"][0] for o, _, pod in pods(objects) if o["metadata"]["name"] == "espalier-worker")


def others(container):
    return {**container, "env": [e for e in container["env"] if e["name"] != "ESPALIER_IDLE_EXIT"]}
