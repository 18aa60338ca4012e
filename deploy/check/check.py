"""Holds everything under deploy/ to schemas and to the built binaries, then shows that planted faults are found.

    python deploy/check/check.py target/debug

Renders every overlay; validates it strictly; starts a coordinator and a worker as the manifests say, on free ports, and asks them what the
manifests ask. Nothing is sent anywhere but to this machine.
"""

import sys
from pathlib import Path

import agreement
import binaries
import compose
import examples
import exits
import identity
import metrics
import planted
import prometheus
import reasons
import references
import render
import rule
import schemas
import tools

complaints = 0


def report(what, found):
    global complaints
    found = list(found)
    complaints += len(found)
    print(f"{'ok  ' if not found else 'FAIL'} {what}", *found, sep="\n     " if found else " ", flush=True)


def started(programs, objects):
    """A coordinator and a worker as an overlay has them."""
    by_image = {agreement.image(c): {**c, "env": environment(objects, c)} for *_, c in render.containers(objects)
                if agreement.image(c) in programs}
    return binaries.Running(programs, by_image["espalier-coordinator"], by_image["espalier-worker"])


def environment(objects, container):
    found = agreement.configuration(objects, container)
    return [{"name": name, "value": value} for name, value in found.items() if value is not None]


def main(folder):
    programs = binaries.programs(folder)
    kubectl = tools.kubectl()
    rendered = {title: render.render(kubectl, path) for title, path in render.overlays().items()}
    told = examples.rendered(kubectl)
    report("README.md: its patches change what they name", examples.wrong(told))
    rendered |= told
    running = started(programs, rendered["overlays/local"])
    try:
        everything(programs, rendered, running, exits.seen(programs["espalier-worker"]))
    finally:
        took = running.end()
    grace = {agreement.image(c): p["terminationGracePeriodSeconds"] for *_, p, c in render.containers(rendered["base"])}
    late = [f"{image}: exit {code} after {s:.1f} s of {grace[image]}" for image, (code, s) in took.items()
            if code != programs[image].on_signal() or s > grace[image] / 2]
    report("on SIGTERM both end as they say, in half of their grace period", late)
    print(f"{complaints} complaints", flush=True)
    return 1 if complaints else 0


def everything(programs, rendered, running, ends):
    report("a worker joins by TLS and token", identity.wrong(programs, rendered["base"]))
    for title, objects in rendered.items():
        report(f"{title}: schemas", schemas.wrong(objects))
        report(f"{title}: what is named is there, and closed", references.wrong(objects))
        report(f"{title}: agrees with the binaries", agreement.wrong(objects, programs, running.http))
        report(f"{title}: exit codes", exits.wrong(objects, ends))
    report("images start what manifests give arguments to", agreement.entry_points())
    report("versions are the workspace's", agreement.versions())
    report("images are built from the whole workspace", agreement.build_context())
    report("every probe, limit and grace period has its reason", reasons.wrong())
    report("compose.yaml", compose.wrong(programs, running.http))
    scraped = metrics.scrape(running.http)
    report("alerts and dashboard", metrics.wrong(*metrics.load(), scraped))
    report("the PrometheusRule is alerts.yaml", rule.wrong())
    report("promtool", metrics.promtool(metrics.load()[1]))
    report("prometheus scrapes, evaluates and answers", prometheus.wrong(running.http, metrics.load()[1]))
    report("planted faults are found", planted.missed(programs, rendered, running.http, scraped, ends))


if __name__ == "__main__":
    if len(sys.argv) != 2:
        raise SystemExit(__doc__)
    sys.exit(main(Path(sys.argv[1]).resolve()))
