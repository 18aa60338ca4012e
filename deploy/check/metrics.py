"""Alerts and dashboard speak of metrics and labels that the running binaries have; promtool reads the rules and runs their tests."""

import json
import os
import re
import shutil
import subprocess
import tempfile

import yaml

from binaries import get
from render import DEPLOY, KUBERNETES

ALERTS, TESTS = DEPLOY / "alerts.yaml", DEPLOY / "alerts_test.yaml"
DASHBOARD = KUBERNETES / "components/grafana-dashboard/dashboard.json"
# A label of ours begins as metrics do.
SELECTOR = re.compile(r"\b(espalier_(?!instance\b)\w+)(?:\{([^}]*)\})?")
LABEL = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
# A sweep's name, and an instance's, is the user's.
FREE = {"sweep", "espalier_instance", "instance", "job"}


class Scraped:
    """Samples by name: the values that each label takes."""

    def __init__(self, texts):
        self.samples = {}
        self.seen = set()
        for line in "\n".join(texts).splitlines():
            if line.startswith("# TYPE "):
                _, _, family, kind = line.split(" ")
                if kind == "counter":
                    self.samples.setdefault(family + "_total", {})
                elif kind == "gauge":
                    self.samples.setdefault(family, {})
            elif line and not line.startswith("#"):
                sample, labels = re.match(r"(\w+)(?:\{(.*?)\})? ", line).groups()
                self.seen.add(sample)
                values = self.samples.setdefault(sample, {})
                for label, value in re.findall(r'(\w+)="([^"]*)"', labels or ""):
                    values.setdefault(label, set()).add(value)


def scrape(running):
    return Scraped([get(base + "/metrics")[1] for base in running.values()])


def expressions(rules, dashboard):
    """Where each stands, and what it says."""
    for group in rules["groups"]:
        for rule in group["rules"]:
            yield f"alerts.yaml: {rule.get('alert', rule.get('record'))}", rule["expr"]
    for panel in dashboard["panels"]:
        for target in panel.get("targets", []):
            yield f"dashboard.json: {panel['title']}", target["expr"]
    for variable in dashboard["templating"]["list"]:
        if variable["type"] == "query":
            yield f"dashboard.json: ${variable['name']}", variable["query"]


def wrong(rules, dashboard, scraped):
    for where, expression in expressions(rules, dashboard):
        found = SELECTOR.findall(expression)
        if not found and "up{" not in expression:
            yield f"{where}: no metric of ours in {expression}"
        for sample, matchers in found:
            if sample not in scraped.samples:
                yield f"{where}: neither program has {sample}"
                continue
            for label, operator, value in LABEL.findall(matchers):
                known = scraped.samples[sample].get(label, set())
                wanted = set(value.split("|")) if "~" in operator else {value}
                if label not in FREE and known and not wanted <= known:
                    yield f"{where}: {sample}: {label}: found {sorted(wanted - known)}, expected of {sorted(known)}"
                if label not in FREE and not known and sample in scraped.seen:
                    yield f"{where}: {sample} has no label {label}"
    yield from explained(rules)


def explained(rules):
    """What each alert means stands in the runbook, and each has a test."""
    readme, tests = (DEPLOY / "README.md").read_text(), TESTS.read_text()
    for group in rules["groups"]:
        for rule in group["rules"]:
            if f"`{rule['alert']}`" not in readme:
                yield f"alerts.yaml: {rule['alert']}: deploy/README.md does not say what it means"
            if f"alertname: {rule['alert']}\n" not in tests:
                yield f"alerts_test.yaml: {rule['alert']} has no test"


def load():
    return yaml.safe_load(ALERTS.read_text()), json.loads(DASHBOARD.read_text())


def promtool(dashboard):
    """Rules fire when they should and not before, and what panels ask can be read. Nothing where promtool is not installed."""
    tool = shutil.which("promtool")
    if not tool:
        if os.environ.get("CI"):
            yield "promtool is not installed: apt-get install prometheus"
        else:
            print("SKIPPED promtool is not installed (Debian's package prometheus): alerts were not run", flush=True)
        return
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        file.write(panels_as_rules(dashboard))
        file.flush()
        for arguments in [["check", "rules", ALERTS], ["test", "rules", TESTS], ["check", "rules", file.name]]:
            done = subprocess.run([tool, *arguments], capture_output=True, text=True)
            if done.returncode != 0:
                yield f"promtool {' '.join(map(str, arguments))}: {done.stdout}{done.stderr}"


def panels(dashboard, window):
    """What each panel asks, with the values that Grafana puts in."""
    for panel in dashboard["panels"]:
        for target in panel["targets"]:
            yield panel["title"], target["expr"].replace("$__rate_interval", window).replace("$sweep", ".*").replace("$instance", ".*")


def panels_as_rules(dashboard):
    """So that promtool reads them."""
    rules = [{"record": f"panel:{number}", "expr": e} for number, (_, e) in enumerate(panels(dashboard, "2m"))]
    return yaml.safe_dump({"groups": [{"name": "panels", "rules": rules}]})
