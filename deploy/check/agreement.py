"""Manifests and binaries agree: every argument, environment name, port, address and probe path of a container is one that its binary has."""

import json
import re
from pathlib import Path
from urllib.parse import urlsplit

from render import DEPLOY, containers, name, pods

# What libraries read: named in the user's guide, and no option of ours.
GUIDE = "".join((DEPLOY.parent / "docs" / f).read_text() for f in ("buckets.md", "cluster.md", "watching.md", "sweep-file.md"))
SYSTEM = {"HOME", "TMPDIR"}


def image(container):
    """The last part of an image's name, without registry, tag and digest."""
    return container["image"].split("@")[0].rsplit("/", 1)[-1].split(":")[0]


def ours(objects, programs):
    for object, metadata, pod, container in containers(objects):
        if program := programs.get(image(container)):
            yield object, metadata, pod, container, program


def configuration(objects, container):
    """Environment of a container as far as the manifests say it, and names that come from elsewhere."""
    maps = {object["metadata"]["name"]: object.get("data", {}) for object in objects if object["kind"] == "ConfigMap"}
    found = {}
    for source in container.get("envFrom", []):
        found |= maps.get(source.get("configMapRef", {}).get("name"), {})
    return found | {e["name"]: e.get("value") for e in container.get("env", [])}


def said(arguments, program):
    """Flags and their values, and what is none."""
    flags, strangers, words = {}, [], list(arguments)
    if program.command[1:]:
        if words[:1] != program.command[1:]:
            return flags, [f"found {words[:1]}, expected {program.command[1:]} first"]
        words = words[1:]
    while words:
        word = words.pop(0)
        flag, equals, value = word.partition("=")
        if flag not in program.flags:
            strangers.append(f"{program.title} has no {word}")
        elif program.flags[flag] and not equals:
            flags[flag] = words.pop(0) if words else strangers.append(f"{flag} has no value")
        else:
            flags[flag] = value
    return flags, strangers


def port(address):
    return int(address.rsplit(":", 1)[1])


def wrong(objects, programs, running, services=None):
    """`running`: where the started binaries answer; `services`: other names that resolve (compose)."""
    known_by = {}
    for object, metadata, pod, container, program in ours(objects, programs):
        where = f"{name(object)}: {container['name']}"
        flags, strangers = said(container.get("args", []), program)
        yield from (f"{where}: args: {stranger}" for stranger in strangers)
        environment = configuration(objects, container)
        for variable in environment:
            mine = variable in program.variables
            known_by[variable] = known_by.get(variable, False) or mine
            direct = any(e["name"] == variable for e in container.get("env", []))
            if variable.startswith("ESPALIER_") and direct and not mine:
                yield f"{where}: env: {program.title} does not read {variable}"
            if not variable.startswith("ESPALIER_") and variable not in SYSTEM and not re.search(rf"\b{variable}\b", GUIDE):
                yield f"{where}: env: {variable} is named nowhere in docs/"
        if "command" in container:
            yield f"{where}: command: found {container['command']}, expected the image's own"
        yield from ports(where, container, flags, environment)
        yield from probes(where, container, program, running[image(container)])
        if address := flags.get("--coordinator") or environment.get("ESPALIER_COORDINATOR"):
            yield from called(where, objects, programs, address, services)
    yield from (f"{v}: neither program reads it" for v, known in known_by.items() if v.startswith("ESPALIER_") and not known)
    yield from backends([(name(o), p.title, configuration(objects, c)) for o, _, _, c, p in ours(objects, programs)])
    yield from monitors(objects, programs, running)


def backends(ours):
    """What a coordinator takes `backend: auto` for is what its workers are. `ours`: where, whose program's, its environment."""
    workers = {environment.get("ESPALIER_DEVICE", "cpu").partition(":")[0] for _, title, environment in ours if title == "espalier-worker"}
    for where, title, environment in ours:
        if title == "espalier coordinator" and {environment.get("ESPALIER_BACKEND")} != workers:
            yield f"{where}: ESPALIER_BACKEND: found {environment.get('ESPALIER_BACKEND')}, its workers are {sorted(workers)}"


def ports(where, container, flags, environment):
    listens = {}
    for role, flag, variable in [("grpc", "--listen", "ESPALIER_LISTEN"), ("http", "--http", "ESPALIER_HTTP")]:
        if address := flags.get(flag) or environment.get(variable):
            listens[role] = port(address)
            if not address.startswith("0.0.0.0:"):
                yield f"{where}: {flag}: found {address}, which other pods do not reach; expected 0.0.0.0:PORT"
    opened = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
    if opened != listens:
        yield f"{where}: ports: found {opened}, expected what it listens on, {listens}"


def probes(where, container, program, base):
    from binaries import get

    opened = {p["name"]: p["containerPort"] for p in container.get("ports", [])}
    for kind in ("startupProbe", "livenessProbe", "readinessProbe"):
        probe = container.get(kind)
        if not probe:
            yield f"{where}: {kind}: there is none"
            continue
        at = probe["httpGet"]
        if at["port"] not in ("http", opened.get("http")):
            yield f"{where}: {kind}: port: found {at['port']}, expected http"
        if (status := get(base + at["path"])[0]) != 200:
            yield f"{where}: {kind}: path: {program.title} answers {at['path']} with {status}"


def called(where, objects, programs, address, services):
    """A coordinator's address leads, through a Service, to what a coordinator listens on."""
    url = urlsplit(address)
    if services is not None:
        if services.get(url.hostname) != url.port:
            yield f"{where}: coordinator: found {address}, expected one of {services}"
        return
    by_name = {o["metadata"]["name"]: o for o in objects if o["kind"] == "Service"}
    service = by_name.get(url.hostname)
    entry = next((p for p in service["spec"]["ports"] if p["port"] == url.port), None) if service else None
    if not entry or entry.get("targetPort", entry["port"]) != "grpc":
        yield f"{where}: coordinator: {address} is no Service's port for a container's port grpc"
    coordinators = [configuration(objects, c) for _, _, _, c, p in ours(objects, programs) if p.title == "espalier coordinator"]
    scheme = "https" if any("ESPALIER_IDENTITY" in c for c in coordinators) else "http"
    if url.scheme != scheme:
        yield f"{where}: coordinator: found {address}, the coordinator speaks {scheme}"


def monitors(objects, programs, running):
    """Scrapers and scalers ask ports that Services have, and paths that are answered."""
    from binaries import get

    for object in objects:
        if object["kind"] == "ServiceMonitor":
            labels = object["spec"]["selector"]["matchLabels"]
            for endpoint in object["spec"]["endpoints"]:
                services = [o for o in objects if o["kind"] == "Service" and labels.items() <= o["metadata"].get("labels", {}).items()]
                seen = [o for o in services if endpoint["port"] in [p["name"] for p in o["spec"]["ports"]]]
                if len(seen) < 2:
                    yield f"{name(object)}: {endpoint['port']}: found {len(seen)} Services with it, expected the coordinator's and the workers'"
                for base in running.values():
                    if (status := get(base + endpoint["path"])[0]) != 200:
                        yield f"{name(object)}: path: {endpoint['path']} is answered with {status}"
        if object["kind"] == "ScaledJob":
            for trigger in object["spec"]["triggers"]:
                url = urlsplit(trigger["metadata"]["url"])
                host = url.hostname.split(".")
                service = next((o for o in objects if o["kind"] == "Service" and o["metadata"]["name"] == host[0]), None)
                if not service or url.port not in [p["port"] for p in service["spec"]["ports"] if p["name"] == "http"]:
                    yield f"{name(object)}: url: {url.netloc} is no Service's port http"
                if host[1:] != [object["metadata"]["namespace"], "svc"]:
                    yield f"{name(object)}: url: KEDA lives in another namespace: expected NAME.{object['metadata']['namespace']}.svc"
                yield from figure(object, trigger["metadata"]["valueLocation"], url.path, running)


def figure(object, location, path, running):
    """What a scaler reads is a number, and of the workers that it makes."""
    from binaries import get

    status, text = get(running["espalier-coordinator"] + path)
    value = json.loads(text) if status == 200 else None
    for part in location.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, int):
        yield f"{name(object)}: the coordinator answers {path} with {status}, and there is no number {location} in {text!r}"
    device = next((e["value"] for _, _, pod in pods([object]) for c in pod["containers"] for e in c["env"] if e["name"] == "ESPALIER_DEVICE"), "cpu")
    if not device.startswith(location.rsplit(".", 1)[-1]):
        yield f"{name(object)}: valueLocation: found {location}, its workers have the device {device}"


def build_context():
    """What images are built from has every member of the workspace: cargo reads all their manifests, whatever it builds."""
    root = DEPLOY.parent
    members = re.search(r"^members = \[(.*?)\]", (root / "Cargo.toml").read_text(), re.M | re.S)[1]
    admitted = set((root / ".dockerignore").read_text().splitlines())
    for member in re.findall(r'"([^"]+)"', members):
        if f"!{member}" not in admitted and not {f"!{member}/Cargo.toml", f"!{member}/src"} <= admitted:
            yield f".dockerignore: keeps {member}, a member of the workspace, out of the images' builds"


def versions(version=None):
    """Images are built, named and started as of the workspace's version, wherever one is written."""
    version = version or re.search(r'^version = "(.*)"', (DEPLOY.parent / "Cargo.toml").read_text(), re.M)[1]
    for pattern in ("README.md", "compose.yaml", "docker/*.Dockerfile", "kubernetes/**/kustomization.yaml"):
        for path in sorted(DEPLOY.glob(pattern)):
            for found in re.findall(r"(?:espalier-(?:coordinator|worker):|newTag: |ARG VERSION=)(\d+\.\d+\.\d+)", path.read_text()):
                if found != version:
                    yield f"{path.relative_to(DEPLOY.parent)}: found version {found}, expected {version} as in Cargo.toml"


def entry_points():
    """Images start the program that the manifests give arguments to."""
    for image_name, program in [("coordinator", "espalier"), ("worker", "espalier-worker")]:
        text = Path(DEPLOY / "docker" / f"{image_name}.Dockerfile").read_text()
        if not re.search(rf'^ENTRYPOINT \["(/\S*/)?{program}"\]$', text, re.M):
            yield f"docker/{image_name}.Dockerfile: ENTRYPOINT: expected {program}"
