"""What manifests name is there: settings, secrets, accounts, ports, pods behind selectors and through network policies; and every pod is closed."""

import re

from render import DEPLOY, containers, name, pods, select

README = DEPLOY / "README.md"
CLUSTER_WIDE = {"Namespace"}


def wrong(objects):
    names = {(o["kind"], o["metadata"]["name"]) for o in objects}
    # cert-manager makes the Secret that a Certificate names.
    names |= {("Secret", o["spec"]["secretName"]) for o in objects if o["kind"] == "Certificate"}
    home = next(o["metadata"]["name"] for o in objects if o["kind"] == "Namespace")
    for object in objects:
        if object["kind"] not in CLUSTER_WIDE and object["metadata"].get("namespace") != home:
            yield f"{name(object)}: namespace: found {object['metadata'].get('namespace')}, expected {home}"
    for object, _, pod in pods(objects):
        for kind, wanted in sorted(named(pod)):
            # Every namespace has the account `default`; its token is mounted nowhere here.
            if (kind, wanted) in names | {("ServiceAccount", "default")}:
                continue
            # What the operator makes: the runbook says how.
            if kind != "Secret" or f"`{wanted}`" not in README.read_text():
                yield f"{name(object)}: {kind} {wanted} is neither here nor in deploy/README.md"
        if object["kind"] == "Job" and "suspend" in object["spec"]:
            yield f"{name(object)}: suspend: whoever applies this again ends the running workers; Kueue sets it by itself, once"
        yield from closed(object, pod)
    yield from selectors(objects)
    yield from reach(objects)


def named(pod):
    yield "ServiceAccount", pod.get("serviceAccountName", "default")
    for container in pod.get("initContainers", []) + pod["containers"]:
        for source in container.get("envFrom", []):
            if "configMapRef" in source:
                yield "ConfigMap", source["configMapRef"]["name"]
            if "secretRef" in source:
                yield "Secret", source["secretRef"]["name"]
        for variable in container.get("env", []):
            if key := variable.get("valueFrom", {}).get("secretKeyRef"):
                yield "Secret", key["name"]
    for volume in pod.get("volumes", []):
        if "secret" in volume:
            yield "Secret", volume["secret"]["secretName"]
        for source in volume.get("projected", {}).get("sources", []):
            if "secret" in source:
                yield "Secret", source["secret"]["name"]
        if "configMap" in volume:
            yield "ConfigMap", volume["configMap"]["name"]
        if "persistentVolumeClaim" in volume:
            yield "PersistentVolumeClaim", volume["persistentVolumeClaim"]["claimName"]


def closed(object, pod):
    """As the namespace's own rule wants it (restricted), and a root file system that is read-only beside."""
    security = pod.get("securityContext", {})
    if not (security.get("runAsNonRoot") and security.get("runAsUser", 0) > 0):
        yield f"{name(object)}: it runs as root"
    if security.get("seccompProfile") != {"type": "RuntimeDefault"}:
        yield f"{name(object)}: seccompProfile: found {security.get('seccompProfile')}, expected RuntimeDefault"
    if pod.get("automountServiceAccountToken") is not False:
        yield f"{name(object)}: a token of the Kubernetes API is mounted"
    if "terminationGracePeriodSeconds" not in pod:
        yield f"{name(object)}: terminationGracePeriodSeconds: there is none"
    for container in pod.get("initContainers", []) + pod["containers"]:
        where, own = f"{name(object)}: {container['name']}", container.get("securityContext", {})
        wanted = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True, "capabilities": {"drop": ["ALL"]}}
        if own != wanted:
            yield f"{where}: securityContext: found {own}, expected {wanted}"
        if "memory" not in container.get("resources", {}).get("limits", {}):
            yield f"{where}: memory has no limit"
        if not re.search(r":[^:/]*\d", container["image"]):
            yield f"{where}: image: found {container['image']}, expected a version"
        mounted = {mount["name"] for mount in container.get("volumeMounts", [])}
        if mounted != {volume["name"] for volume in pod.get("volumes", [])}:
            yield f"{where}: volumeMounts: found {sorted(mounted)}, expected every volume of the pod"
    for volume in pod.get("volumes", []):
        if volume.get("emptyDir", {"sizeLimit": 1}).get("sizeLimit") is None:
            yield f"{name(object)}: {volume['name']}: an emptyDir without a limit fills the node"


def selectors(objects):
    for object in objects:
        spec = object.get("spec", {})
        labels = {
            "Service": lambda: spec["selector"],
            "PodDisruptionBudget": lambda: spec["selector"]["matchLabels"],
            "NetworkPolicy": lambda: spec["podSelector"].get("matchLabels", {}),
        }.get(object["kind"])
        if labels is None:
            continue
        chosen = select(objects, labels())
        if not chosen:
            yield f"{name(object)}: selector: no pod has {labels()}"
        if object["kind"] == "PodDisruptionBudget" and any(owner["kind"] != "Deployment" for owner, _ in chosen):
            yield f"{name(object)}: selector: of pods that a Job owns no share can be computed, and none could be evicted"
        opened = {p["name"] for _, pod in chosen for c in pod["containers"] for p in c.get("ports", [])}
        targets = {p.get("targetPort", p["port"]) for p in spec.get("ports", [])} if object["kind"] == "Service" else set()
        for target in targets - opened:
            yield f"{name(object)}: targetPort: found {target}, its pods have {sorted(opened)}"


def reach(objects):
    """Workers reach the coordinator, and both the store where one is here: out of the one's policies, into the other's."""
    app = "app.kubernetes.io/name"
    pairs = [("espalier-worker", "espalier-coordinator", 7420)]
    if select(objects, {app: "espalier-s3"}):
        pairs += [("espalier-worker", "espalier-s3", 9000), ("espalier-coordinator", "espalier-s3", 9000)]
    for source, target, port in pairs:
        _, pod = select(objects, {app: target})[0]
        port_names = {p["name"]: p["containerPort"] for c in pod["containers"] for p in c.get("ports", [])}
        if port not in port_names.values():
            yield f"{target}: no container has port {port}"
        for direction, of, peer, key in [("egress", source, target, "to"), ("ingress", target, source, "from")]:
            if not any(allows(rule, key, {app: peer}, port, port_names) for rule in rules(objects, direction, {app: of})):
                yield f"NetworkPolicy: no {direction} rule lets {source} reach {target} on port {port}"


def rules(objects, direction, labels):
    for object in objects:
        if object["kind"] == "NetworkPolicy" and labels.items() <= object["spec"]["podSelector"].get("matchLabels", {}).items():
            yield from object["spec"].get(direction, [])


def allows(rule, key, peer, port, port_names):
    ports = [port_names.get(p["port"], p["port"]) for p in rule["ports"]]
    return port in ports and any(p.get("podSelector", {}).get("matchLabels") == peer for p in rule.get(key, []))
