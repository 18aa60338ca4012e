"""Overlays as Kubernetes would be given them."""

import subprocess
from pathlib import Path

import yaml

DEPLOY = Path(__file__).resolve().parents[1]
KUBERNETES = DEPLOY / "kubernetes"


def overlays():
    """Every folder that a user may apply, and those that join several components for this check."""
    found = {"base": KUBERNETES / "base"}
    for folder in [KUBERNETES / "overlays", Path(__file__).parent / "joined"]:
        found |= {f"{folder.name}/{path.parent.name}": path.parent for path in sorted(folder.glob("*/kustomization.yaml"))}
    return found


def render(kubectl, folder):
    done = subprocess.run([*kubectl, "kustomize", folder], capture_output=True, text=True)
    # A warning is about something that will be an error.
    if done.returncode != 0 or done.stderr.strip():
        raise SystemExit(f"kubectl kustomize {folder}: exit {done.returncode}\n{done.stderr}")
    return [object for object in yaml.safe_load_all(done.stdout) if object]


def name(object):
    return f"{object['kind']}/{object['metadata']['name']}"


def pods(objects):
    """Every pod template: the object that makes it, its metadata, its spec."""
    for object in objects:
        spec = object.get("spec", {})
        template = spec.get("jobTargetRef", spec).get("template") if isinstance(spec, dict) else None
        if template:
            yield object, template["metadata"], template["spec"]


def containers(objects):
    for object, metadata, pod in pods(objects):
        for container in pod.get("initContainers", []) + pod["containers"]:
            yield object, metadata, pod, container


def select(objects, labels):
    """Pods that carry these labels."""
    return [(object, pod) for object, metadata, pod in pods(objects) if labels.items() <= metadata.get("labels", {}).items()]
