"""Every object against its schema, an unknown field being an error: Kubernetes' own by kubernetes-validate, others by schemas/."""

import json
from pathlib import Path

import jsonschema
import kubernetes_validate

from render import name

VERSION = "1.37.0"
OWN = {schema["properties"]["kind"]["const"]: schema
       for schema in (json.loads(path.read_text()) for path in Path(__file__).parent.glob("schemas/*.json"))}


def wrong(objects):
    for object in objects:
        try:
            if schema := OWN.get(object["kind"]):
                jsonschema.validate(object, schema)
                metadata = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": object["metadata"]}
                kubernetes_validate.validate(metadata, VERSION, strict=True)
                if job := object["spec"].get("jobTargetRef"):
                    whole = {"apiVersion": "batch/v1", "kind": "Job", "metadata": object["metadata"], "spec": job}
                    kubernetes_validate.validate(whole, VERSION, strict=True)
            else:
                kubernetes_validate.validate(object, VERSION, strict=True)
        except (kubernetes_validate.ValidationError, jsonschema.ValidationError) as error:
            yield f"{name(object)}: {'.'.join(map(str, error.path))}: {error.message[:300]}"
        except kubernetes_validate.SchemaNotFoundError as error:
            yield f"{name(object)}: {error}; a schema of its own belongs in deploy/check/schemas"
