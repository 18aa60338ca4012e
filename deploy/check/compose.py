"""compose.yaml, as docker compose itself reads it, held to the binaries like the Kubernetes manifests."""

import json
import os
import subprocess

import agreement
import tools
from render import DEPLOY

FILE = DEPLOY / "compose.yaml"


def resolved():
    environment = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    done = subprocess.run([*tools.compose(), "--file", FILE, "config", "--format", "json"], capture_output=True, text=True, env=environment)
    if done.returncode != 0 or done.stderr.strip():
        raise SystemExit(f"docker compose config: exit {done.returncode}\n{done.stderr}")
    return json.loads(done.stdout)["services"]


def wrong(programs, running):
    services = resolved()
    built = {name: s for name, s in services.items() if agreement.image(s) in programs}
    if len(built) != 2:
        yield f"services: found {sorted(built)} of our images, expected a coordinator and a worker"
    listening = {}
    for name, service in built.items():
        flags, _ = agreement.said(service.get("command") or [], programs[agreement.image(service)])
        if address := flags.get("--listen"):
            listening[name] = agreement.port(address)
    for name, service in built.items():
        program, where = programs[agreement.image(service)], f"compose.yaml: {name}"
        flags, strangers = agreement.said(service.get("command") or [], program)
        yield from (f"{where}: command: {stranger}" for stranger in strangers)
        for variable in service["environment"]:
            if variable.startswith("ESPALIER_") and variable not in program.variables:
                yield f"{where}: environment: {program.title} does not read {variable}"
        if address := service["environment"].get("ESPALIER_COORDINATOR") or flags.get("--coordinator"):
            yield from agreement.called(where, [], programs, address, listening)
        # A user's way in: the published port is one that is listened on.
        for port in service.get("ports", []):
            heard = [agreement.port(v) for k, v in flags.items() if k in ("--listen", "--http")]
            if port["target"] not in heard:
                yield f"{where}: ports: found {port['target']}, it listens on {heard}"
    yield from agreement.backends([(f"compose.yaml: {n}", programs[agreement.image(s)].title, s["environment"]) for n, s in built.items()])
    for name, service in services.items():
        # The store is root of its own volume alone.
        if not (service.get("read_only") and service.get("cap_drop") == ["ALL"] and (service.get("user") or name == "store")):
            yield f"compose.yaml: {name}: expected read_only, cap_drop: [ALL] and a user"
