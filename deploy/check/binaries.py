"""What the built binaries accept and answer: asked of themselves."""

import json
import os
import re
import signal
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

SCORING = Path(__file__).resolve().parents[2] / "tests/goldens/scoring"
# Two variants of a tiny model: one is measured, at the other the worker's compute process dies, which this test asks it to.
SWEEP = f"""
name: check
models: [{SCORING}/phi-nobos]
calibration: {{data: {SCORING}/data/rows.txt, nsamples: 2, seqlen: 32}}
recipes: [{{method: [wanda, magnitude], sparsity: [0.5]}}]
tasks: [{{task: wikitext2, data: {SCORING}/data/rows.txt, seqlen: 32}}]
limits: {{attempts: 1}}
"""
FAULT = {"ESPALIER_TEST_FAULTS": "die=magnitude"}
# Seconds for anything that takes fewer on a busy machine.
PATIENCE = 120


class Program:
    """One command line: its flags, whether each takes a value, its environment variables."""

    def __init__(self, command):
        done = subprocess.run([*command, "--help"], capture_output=True, text=True, env={**os.environ, "COLUMNS": "200"})
        if done.returncode != 0:
            raise SystemExit(f"{' '.join(map(str, command))} --help: exit {done.returncode}\n{done.stderr}")
        self.command = command
        self.title = " ".join([Path(command[0]).name, *command[1:]])
        self.flags = {flag: bool(value) for flag, value in re.findall(r"^ +(?:-\w, )?(--[a-z0-9-]+)(?:[ =](<))?", done.stdout, re.M)}
        self.variables = set(re.findall(r"\[env:\s*([A-Z0-9_]+)", done.stdout))
        # Its own table of exit codes, where its help has one.
        table = done.stdout.partition("Exit codes:")[2]
        self.exits = {int(code): what for code, what in re.findall(r"^ *(\d+) +(.*)$", "\n" + table, re.M)}

    def on_signal(self):
        """The code with which it ends when it is told to leave: work may be left, if its help says so, else all is well."""
        return next((code for code, what in self.exits.items() if what.startswith("left on a signal")), 0)


def programs(folder):
    """By the name of its image."""
    return {
        "espalier-coordinator": Program([folder / "espalier", "coordinator"]),
        "espalier-worker": Program([folder / "espalier-worker"]),
    }


def get(url):
    """Status and body; 0 and why, where nobody answers."""
    try:
        with urllib.request.urlopen(url, timeout=30) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()
    except OSError as error:
        # Also where a process ends while it is asked: whoever waits for it shows why.
        return 0, str(error)


class Running:
    """A coordinator and a worker, started with a container's arguments and environment, but on free ports of this machine and a folder
    for a bucket. `mounts`: by image, folders of this machine for those of a container. `http`: by image, where each answers. Where the
    coordinator takes everybody, they do a sweep, which is submitted before there is a worker."""

    def __init__(self, programs, coordinator, worker, mounts=None):
        self.folder = tempfile.TemporaryDirectory()
        self.mounts = mounts or {}
        self.processes = {}
        self.http = {}
        try:
            self._start(programs, coordinator, worker)
        except BaseException:
            self.end()
            raise

    def _start(self, programs, coordinator, worker):
        process = self._spawn("espalier-coordinator", programs, coordinator, ["--output", "json"], stdout=subprocess.PIPE)
        lines = list(iter(process.stdout.readline, "}\n")) if process.poll() is None else []
        said = json.loads("".join([*lines, "}"]) if lines else "{}")
        if not said.get("http"):
            raise SystemExit(f"the coordinator does not say where it answers: {said}; {self._log('espalier-coordinator')}")
        self.address, self.http["espalier-coordinator"] = here(said["address"]), here(said["http"])
        espalier = programs["espalier-coordinator"].command[0]
        if not self.mounts:
            self._sweep(espalier)
        self._spawn("espalier-worker", programs, worker, ["--log", "info"], {"ESPALIER_COORDINATOR": self.address, **FAULT})
        self._until(lambda: "http://" in self._log("espalier-worker"), "the worker says where it answers")
        self.http["espalier-worker"] = here(re.search(r"scrapers on (http://[0-9.:]+)", self._log("espalier-worker")).group(1))
        for image, base in self.http.items():
            self._until(lambda: get(base + "/readyz")[0] == 200, f"{image} is ready")
        if not self.mounts:
            # So that everything that is counted has been. It must end with a hole.
            self._ask(espalier, ["watch", "check"], 4)

    def _sweep(self, espalier):
        file = Path(self.folder.name, "sweep.yaml")
        file.write_text(SWEEP)
        self._ask(espalier, ["submit", file], 0)

    def _ask(self, espalier, arguments, expected):
        command = [espalier, *arguments, "--coordinator", self.address]
        done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE)
        if done.returncode != expected:
            raise SystemExit(f"{command}: exit {done.returncode}, expected {expected}\n{done.stdout}{done.stderr}")

    def _spawn(self, image, programs, container, more, environment=None, **streams):
        program = programs[image]
        arguments = [self._mounted(image, free(a)) for a in container["args"] if a not in program.command]
        given = {e["name"]: self._mounted(image, e["value"]) for e in container.get("env", []) if e["name"].startswith("ESPALIER_")}
        home = Path(self.folder.name, image)
        home.mkdir()
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("ESPALIER_", "AWS_", "OTEL_"))}
        environment = {**kept, **given, "HOME": home, "ESPALIER_BUCKET": self.folder.name + "/bucket", **(environment or {})}
        with open(home / "log", "w") as log:
            process = subprocess.Popen([*program.command, *arguments, *more], env=environment, stderr=log, text=True, **streams)
        self.processes[image] = process
        return process

    def _mounted(self, image, text):
        for path, folder in self.mounts.get(image, {}).items():
            text = text.replace(path, str(folder))
        return text

    def _log(self, image):
        return Path(self.folder.name, image, "log").read_text()

    def _until(self, done, what):
        end = time.monotonic() + PATIENCE
        while not done():
            ended = [image for image, process in self.processes.items() if process.poll() is not None]
            if ended or time.monotonic() > end:
                logs = "\n".join(f"{image}: {self._log(image)}" for image in self.processes)
                raise SystemExit(f"{what}: not within {PATIENCE} s; ended: {ended}\n{logs}")
            time.sleep(0.1)

    def end(self):
        """SIGTERM to the worker, then the coordinator; by image, the exit code and the seconds that it took."""
        took = {}
        for image, process in reversed(self.processes.items()):
            begun = time.monotonic()
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(PATIENCE)
            except subprocess.TimeoutExpired:
                process.kill()
            took[image] = (process.wait(), time.monotonic() - begun)
        self.folder.cleanup()
        return took


def free(argument):
    """A listening address of a container on any free port; off loopback as there, because a coordinator may then want more."""
    return re.sub(r"0\.0\.0\.0:\d+", "0.0.0.0:0", argument)


def here(address):
    return address.replace("//0.0.0.0:", "//127.0.0.1:")
