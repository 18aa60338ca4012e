"""Every probe, grace period, budget and limit has its reason in a comment beside it."""

import re

from render import DEPLOY

# A line with one of these opens something that somebody chose.
CHOSEN = re.compile(
    r"^\s*-?\s*(startupProbe|livenessProbe|readinessProbe|terminationGracePeriodSeconds|limits|emptyDir|backoffLimit\w*|"
    r"replicas|strategy|maxUnavailable|minReplicaCount|maxReplicaCount|pollingInterval|podReplacementPolicy|ttlSecondsAfterFinished|"
    r"progressDeadlineSeconds|rollout|interval|duration|stop_grace_period|healthcheck|mem_limit)\b"
)
# How many lines above may hold the comment: of a volume its name stands between.
ABOVE = 2
# A file that begins with a comment of what it is need not say it again at the one number in it.
WHOLE = {"PodDisruptionBudget"}


def wrong():
    for path in sorted(DEPLOY.glob("kubernetes/**/*.yaml")) + [DEPLOY / "compose.yaml"]:
        lines = path.read_text().splitlines()
        if lines[0].startswith("#") and any(f"kind: {kind}" in lines for kind in WHOLE):
            continue
        for number, line in enumerate(lines):
            if CHOSEN.match(line) and not any("#" in above for above in [line, *lines[max(0, number - ABOVE):number]]):
                yield f"{path.relative_to(DEPLOY.parent)}:{number + 1}: {line.strip()}: no reason beside it"
