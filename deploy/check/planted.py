"""Plants one fault at a time and looks whether the check says so: a check that finds nothing may be one that looks at nothing."""

import copy
import shutil

import agreement
import exits
import metrics
import references
import rule
import schemas
from render import pods


def by(objects, kind, name):
    return next(o for o in objects if o["kind"] == kind and o["metadata"]["name"] == name)


def container(objects, name):
    """The first container of a Deployment."""
    return by(objects, "Deployment", name)["spec"]["template"]["spec"]["containers"][0]


def first_alert(objects):
    return by(objects, "PrometheusRule", "espalier")["spec"]["groups"][0]["rules"][0]


COORDINATOR, WORKER = "espalier-coordinator", "espalier-worker"

# What is planted where, by whom it must be found, and what must be said.
PLANTED = {
    "a field that Kubernetes does not know":
        ("base", lambda o: container(o, WORKER).update(readOnlyRootFilesytem=True), "schemas", "readOnlyRootFilesytem"),
    "a field that a Job does not know, inside a ScaledJob":
        ("overlays/elastic", lambda o: by(o, "ScaledJob", WORKER)["spec"]["jobTargetRef"].update(backofLimit=1), "schemas", "backofLimit"),
    "a field that KEDA does not know":
        ("overlays/elastic", lambda o: by(o, "ScaledJob", WORKER)["spec"].update(maxReplicas=3), "schemas", "maxReplicas"),
    "a wrong type":
        ("base", lambda o: by(o, "Deployment", WORKER)["spec"].update(replicas="two"), "schemas", "replicas"),
    "a field that the Prometheus operator does not know":
        ("joined/everything", lambda o: first_alert(o).update(keepFiringFor="5m"), "schemas", "keepFiringFor"),
    "a time that the Prometheus operator does not read":
        ("joined/everything", lambda o: first_alert(o).update({"for": "5 minutes"}), "schemas", "5 minutes"),
    "a misspelt flag":
        ("base", lambda o: container(o, WORKER)["args"].append("--htpp=0.0.0.0:7421"), "agreement", "--htpp"),
    "a misspelt subcommand":
        ("base", lambda o: container(o, COORDINATOR).update(args=["cordinator"]), "agreement", "cordinator"),
    "a misspelt environment name":
        ("base", lambda o: container(o, WORKER)["env"].append({"name": "ESPALIER_DEVISE", "value": "cpu"}), "agreement", "ESPALIER_DEVISE"),
    "a misspelt setting":
        ("base", lambda o: next(x for x in o if x["kind"] == "ConfigMap")["data"].update(ESPALIER_BUKET="s3://x"), "agreement", "ESPALIER_BUKET"),
    "a name of the store's that no page explains":
        ("base", lambda o: container(o, WORKER)["env"].append({"name": "AWS_ENDPOINT_URI", "value": "x"}), "agreement", "AWS_ENDPOINT_URI"),
    "a coordinator that is not told what its workers are":
        ("overlays/elastic", lambda o: container(o, COORDINATOR)["env"].remove({"name": "ESPALIER_BACKEND", "value": "cuda"}),
         "agreement", "ESPALIER_BACKEND: found None"),
    "a container's port that it does not listen on":
        ("base", lambda o: container(o, COORDINATOR)["ports"][0].update(containerPort=7422), "agreement", "7422"),
    "an address that other pods do not reach":
        ("base", lambda o: container(o, WORKER).update(args=["--http", "127.0.0.1:7421"]), "agreement", "127.0.0.1:7421"),
    "a probe's path that is not answered":
        ("base", lambda o: container(o, WORKER)["livenessProbe"]["httpGet"].update(path="/health"), "agreement", "404"),
    "a probe's port that is another":
        ("base", lambda o: container(o, COORDINATOR)["livenessProbe"]["httpGet"].update(port="grpc"), "agreement", "expected http"),
    "a coordinator's address on the wrong port":
        ("base", lambda o: container(o, WORKER)["env"][0].update(name="ESPALIER_COORDINATOR", value=f"https://{COORDINATOR}:7421"),
         "agreement", "no Service's port"),
    "http to a coordinator that speaks TLS":
        ("base", lambda o: next(e for e in container(o, WORKER)["env"] if e["name"] == "ESPALIER_COORDINATOR").update(
            value=f"http://{COORDINATOR}:7420"), "agreement", "speaks https"),
    "a scaler's path that is not answered":
        ("overlays/elastic", lambda o: by(o, "ScaledJob", WORKER)["spec"]["triggers"][0]["metadata"].update(
            url=f"http://{COORDINATOR}.espalier.svc:7421/scales"), "agreement", "/scales"),
    "an exit code that no worker ends with":
        ("overlays/fixed", lambda o: by(o, "Job", WORKER)["spec"]["podFailurePolicy"]["rules"][2]["onExitCodes"]["values"].append(9),
         "exits", "never ended with 9"),
    "a Job that every apply suspends":
        ("overlays/kueue", lambda o: by(o, "Job", WORKER)["spec"].update(suspend=True), "references", "suspend"),
    "a setting that is not there":
        ("base", lambda o: container(o, WORKER)["envFrom"][0]["configMapRef"].update(name="espalier-old"), "references", "espalier-old"),
    "a Secret that nobody is told to make":
        ("base", lambda o: container(o, WORKER)["envFrom"][1]["secretRef"].update(name="espalier-s4"), "references", "espalier-s4"),
    "a Service whose pods have no such port":
        ("base", lambda o: by(o, "Service", WORKER)["spec"]["ports"][0].update(targetPort="web"), "references", "web"),
    "a selector that chooses nothing":
        ("base", lambda o: by(o, "PodDisruptionBudget", WORKER)["spec"]["selector"]["matchLabels"].update({"espalier/owner": "x"}),
         "references", "no pod has"),
    "a store that the network policies keep workers from":
        ("overlays/local", lambda o: by(o, "NetworkPolicy", WORKER)["spec"]["egress"].pop(), "references", "espalier-s3 on port 9000"),
    "a container that may become root":
        ("base", lambda o: container(o, WORKER)["securityContext"].update(allowPrivilegeEscalation=True), "references", "securityContext"),
    "an image without a version":
        ("base", lambda o: container(o, WORKER).update(image="espalier-worker:latest"), "references", "expected a version"),
}


def missed(programs, rendered, running, scraped, ends):
    finders = {
        "schemas": schemas.wrong,
        "references": references.wrong,
        "agreement": lambda objects: agreement.wrong(objects, programs, running),
        "exits": lambda objects: exits.wrong(objects, ends),
    }
    for what, (title, plant, finder, said) in PLANTED.items():
        objects = copy.deepcopy(rendered[title])
        assert list(pods(objects)), title
        plant(objects)
        found = list(finders[finder](objects))
        if not any(said in complaint for complaint in found):
            yield f"{what}: expected {said!r}, found {found}"
    yield from missed_metrics(scraped)
    elsewhere = {complaint.split(":")[0] for complaint in agreement.versions("9.9.9")}
    if len(elsewhere) < 6:
        yield f"another version in every file that names one: found only in {sorted(elsewhere)}"
    if not list(rule.wrong(rule.RULE.read_text().replace("for: 5m", "for: 6m", 1))):
        yield "a PrometheusRule that is not alerts.yaml"


def missed_metrics(scraped):
    rules, dashboard = metrics.load()
    plants = {
        "an alert on a metric that is not there": ("espalier_cels", 'sum(espalier_cels{state="missing"}) > 0'),
        "an alert on a state that is not there": ("'sleeping'", 'espalier_workers{state="sleeping"} > 0'),
        "an alert on a label that is not there": ("no label", 'espalier_epoch{state="idle"} > 0'),
    }
    for what, (said, expression) in plants.items():
        planted_rules = copy.deepcopy(rules)
        planted_rules["groups"][0]["rules"][0]["expr"] = expression
        found = list(metrics.wrong(planted_rules, dashboard, scraped))
        if not any(said in complaint for complaint in found):
            yield f"{what}: expected {said!r}, found {found}"
    dashboard = copy.deepcopy(dashboard)
    next(panel for panel in dashboard["panels"] if panel.get("targets"))["targets"][0]["expr"] = "espalier_wrokers"
    if not any("espalier_wrokers" in complaint for complaint in metrics.wrong(rules, dashboard, scraped)):
        yield "a panel on a metric that is not there"
    next(panel for panel in dashboard["panels"] if panel.get("targets"))["targets"][0]["expr"] = "sum(espalier_workers"
    if shutil.which("promtool") and not list(metrics.promtool(dashboard)):
        yield "a panel that asks what cannot be read"
