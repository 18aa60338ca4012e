"""The PrometheusRule of the Prometheus operator is alerts.yaml, whole: the rules are written there, and this writes them where kustomize may read them.

    python deploy/check/rule.py

kustomize reads no file outside of a component's folder, and Prometheus refuses a rule file with an object's fields: hence two files.
"""

import textwrap

from metrics import ALERTS
from render import DEPLOY, KUBERNETES

RULE = KUBERNETES / "components/prometheus-rule/prometheusrule.yaml"
HEAD = """\
# Made from deploy/alerts.yaml by deploy/check/rule.py: change it there, and run that.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: espalier
spec:
"""


def made(alerts):
    return HEAD + textwrap.indent(alerts, "  ")


def wrong(rule=None):
    if (rule if rule is not None else RULE.read_text()) != made(ALERTS.read_text()):
        yield f"{RULE.relative_to(DEPLOY.parent)} is not what deploy/alerts.yaml says: run python deploy/check/rule.py"


if __name__ == "__main__":
    RULE.write_text(made(ALERTS.read_text()))
