"""A real Prometheus scrapes the started binaries, evaluates the alert rules and answers what the dashboard's panels ask."""

import json
import math
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.parse
from pathlib import Path

import yaml

from binaries import PATIENCE, get
from metrics import ALERTS, panels

# Seconds between scrapes, and of the window that rates are taken over.
EVERY, WINDOW = 1, 20


def configuration(running):
    targets = [base.removeprefix("http://") for base in running.values()]
    return {
        "global": {"scrape_interval": f"{EVERY}s", "evaluation_interval": f"{EVERY}s"},
        "rule_files": [str(ALERTS)],
        "scrape_configs": [{"job_name": "espalier", "static_configs": [{"targets": targets}]}],
    }


def wrong(running, dashboard):
    program = shutil.which("prometheus")
    if not program:
        # promtool comes with the same package: that it is missing in CI is said there.
        print("SKIPPED prometheus is not installed (Debian's package prometheus): the binaries were not scraped by it", flush=True)
        return
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{probe.getsockname()[1]}"
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "prometheus.yaml")
        file.write_text(yaml.safe_dump(configuration(running)))
        with open(Path(folder, "log"), "w") as log:
            arguments = [f"--config.file={file}", f"--storage.tsdb.path={folder}/data", f"--web.listen-address={address}"]
            process = subprocess.Popen([program, *arguments], stdout=log, stderr=log)
        try:
            yield from asked(f"http://{address}/api/v1", len(running), dashboard)
        finally:
            process.terminate()
            process.wait()


def api(base, path, **parameters):
    status, text = get(f"{base}/{path}?{urllib.parse.urlencode(parameters)}")
    return json.loads(text)["data"] if status == 200 else None


def asked(base, targets, dashboard):
    end = time.monotonic() + PATIENCE
    while not (scraped := samples(base)) or min(scraped) < 5 or len(scraped) < targets:
        if time.monotonic() > end:
            yield f"not scraped within {PATIENCE} s: {api(base, 'targets')}"
            return
        time.sleep(EVERY)
    for group in api(base, "rules")["groups"]:
        yield from (f"alerts.yaml: {r['name']}: {r.get('lastError')}" for r in group["rules"] if r["health"] != "ok")
    end = time.monotonic() + PATIENCE
    for panel, expression in panels(dashboard, f"{WINDOW}s"):
        # NaN is no answer: also idle, a coordinator lists its logs and hears of its worker every few seconds, and every panel has something to show.
        while not (found := numbers(base, expression)) and time.monotonic() < end:
            time.sleep(EVERY)
        if not found:
            yield f"dashboard.json: {panel}: no number is answered to {expression}"


def numbers(base, expression):
    answer = api(base, "query", query=expression)
    found = [float(series["value"][1]) for series in answer["result"]] if answer else []
    return [number for number in found if not math.isnan(number)]


def samples(base):
    """How often each target was scraped well so far."""
    answer = api(base, "query", query=f"sum_over_time(up[{PATIENCE}s])")
    return [float(series["value"][1]) for series in answer["result"]] if answer else []
