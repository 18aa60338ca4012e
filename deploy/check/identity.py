"""TLS and tokens for real: a coordinator with the identity that `espalier identity` makes, and a worker that is mounted its part of it, as the
base has them. The worker must be answered; one with another token must not."""

import subprocess
import tempfile
from pathlib import Path

import agreement
import binaries
import render

SECRET = "espalier-identity"


def wrong(programs, objects):
    espalier = programs["espalier-coordinator"].command[0]
    with tempfile.TemporaryDirectory() as folder:
        made = Path(folder, "made")
        subprocess.run([espalier, "identity", "--identity", made], check=True, capture_output=True, text=True)
        secrets = {SECRET: {path.name: path.read_bytes() for path in made.iterdir()}}
        mounts, by_image = {}, {}
        for object, _, pod, container in render.containers(objects):
            image = agreement.image(container)
            mounts[image] = dict(mounted(pod, container, secrets, Path(folder, image)))
            found = agreement.configuration(objects, container)
            by_image[image] = {**container, "env": [{"name": n, "value": v} for n, v in found.items() if v is not None]}
        containers = by_image["espalier-coordinator"], by_image["espalier-worker"]
        try:
            binaries.Running(programs, *containers, mounts).end()
        except SystemExit as error:
            yield f"the base's worker is not answered: {error}"
            return
        token = next(folder / "token" for folder in mounts["espalier-worker"].values() if (folder / "token").exists())
        token.write_text("0" * 64)
        try:
            binaries.Running(programs, *containers, mounts).end()
            yield "a worker with a token of its own making is answered"
        except SystemExit as error:
            if "ended: ['espalier-worker']" not in str(error):
                yield f"a worker with a token of its own making does not end: {error}"


def mounted(pod, container, secrets, folder):
    """A projected volume of Secrets as a folder: by the path where the container sees it."""
    at = {mount["name"]: mount["mountPath"] for mount in container.get("volumeMounts", [])}
    for volume in pod.get("volumes", []):
        for source in volume.get("projected", {}).get("sources", []):
            files = secrets[source["secret"]["name"]]
            here = folder / volume["name"]
            here.mkdir(parents=True, exist_ok=True)
            for item in source["secret"].get("items") or [{"key": key, "path": key} for key in files]:
                (here / item["path"]).write_bytes(files[item["key"]])
            yield at[volume["name"]], here
