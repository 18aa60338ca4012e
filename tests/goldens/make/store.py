"""Writes golden files, and compares two trees of them.

In: tensors and JSON values. Out: files whose bytes depend on nothing but those values.
Must never round a float: `compare` alone knows the tolerances.
"""

import json
import math
from pathlib import Path

import torch
from pyarrow.parquet import read_table
from safetensors import safe_open
from safetensors.torch import save_file

# A regenerated float may differ from the committed one by the order in which another CPU adds:
# |a - b| <= RELATIVE * max|b|, the maximum taken over the tensor or, in JSON, over the number itself.
RELATIVE = 1e-5
ABSOLUTE = 1e-9


def write_tensors(path, tensors):
    """Writes `tensors` (name -> tensor) as safetensors, creating the folder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    save_file({name: t.detach().contiguous().clone() for name, t in tensors.items()}, path)


def write_json(path, value):
    """Writes `value` with sorted keys, one entry of the outermost list or object a line."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(_spread(value, levels=2) + "\n", encoding="utf-8")


def _spread(value, levels):
    """Returns JSON text broken into lines down to `levels`; floats in their shortest form that round-trips."""
    if levels and isinstance(value, dict):
        parts = [f"{json.dumps(k, ensure_ascii=False)}: {_spread(value[k], levels - 1)}" for k in sorted(value)]
        return "{\n" + ",\n".join(parts) + "\n}" if parts else "{}"
    if levels and isinstance(value, list) and any(isinstance(entry, (dict, list)) for entry in value):
        return "[\n" + ",\n".join(_spread(entry, levels=0) for entry in value) + "\n]"
    return json.dumps(value, ensure_ascii=False, sort_keys=True, allow_nan=False)


def write_jsonl(path, rows):
    """Writes one JSON value a line, keys in the order given."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
    path.write_text("".join(lines), encoding="utf-8")


def files_under(root, names):
    """Returns the relative paths of all files under `root/name`, for each of `names`."""
    found = set()
    for name in names:
        top = root / name
        if top.is_file():
            found.add(Path(name))
        found.update(p.relative_to(root) for p in top.rglob("*") if p.is_file())
    return found


def compare(committed, fresh, names):
    """Returns what differs between two trees, one line a difference; empty if nothing does."""
    old, new = files_under(committed, names), files_under(fresh, names)
    problems = [f"{p}: committed but not regenerated" for p in sorted(old - new)]
    problems += [f"{p}: regenerated but not committed" for p in sorted(new - old)]
    for path in sorted(old & new):
        problems += [f"{path}: {what}" for what in _compare_file(committed / path, fresh / path)]
    return problems


def _compare_file(old, new):
    if old.suffix == ".safetensors":
        return _compare_tensors(old, new)
    if old.suffix == ".json":
        return _compare_json(json.loads(old.read_text("utf-8")), json.loads(new.read_text("utf-8")), "$")
    if old.suffix == ".parquet":
        return _compare_json(read_table(old).to_pylist(), read_table(new).to_pylist(), "$")
    if old.read_bytes() != new.read_bytes():
        return ["bytes differ"]
    return []


def _compare_tensors(old, new):
    problems = []
    with safe_open(old, "pt") as a, safe_open(new, "pt") as b:
        if sorted(a.keys()) != sorted(b.keys()):
            return [f"tensor names differ: {sorted(set(a.keys()) ^ set(b.keys()))}"]
        for name in sorted(a.keys()):
            x, y = a.get_tensor(name), b.get_tensor(name)
            if x.dtype != y.dtype or x.shape != y.shape:
                problems.append(f"{name}: {x.dtype} {list(x.shape)} became {y.dtype} {list(y.shape)}")
            elif not x.dtype.is_floating_point:
                differ = int((x != y).sum())
                if differ:
                    problems.append(f"{name}: {differ} of {x.numel()} integers differ")
            else:
                gap = (x.double() - y.double()).abs().max().item() if x.numel() else 0.0
                allowed = RELATIVE * (x.double().abs().max().item() if x.numel() else 0.0) + ABSOLUTE
                if not gap <= allowed:
                    problems.append(f"{name}: differs by {gap:.3e}, allowed {allowed:.3e}")
    return problems


def _compare_json(old, new, where):
    if isinstance(old, float) and isinstance(new, float):
        if math.isclose(old, new, rel_tol=RELATIVE, abs_tol=ABSOLUTE):
            return []
        return [f"{where}: {old!r} became {new!r}"]
    if type(old) is not type(new):
        return [f"{where}: {old!r} became {new!r}"]
    if isinstance(old, dict):
        if old.keys() != new.keys():
            return [f"{where}: keys differ: {sorted(old.keys() ^ new.keys())}"]
        return [p for k in old for p in _compare_json(old[k], new[k], f"{where}.{k}")]
    if isinstance(old, list):
        if len(old) != len(new):
            return [f"{where}: {len(old)} entries became {len(new)}"]
        return [p for i, (a, b) in enumerate(zip(old, new)) for p in _compare_json(a, b, f"{where}[{i}]")]
    return [] if old == new else [f"{where}: {old!r} became {new!r}"]


def set_up_torch():
    """One thread and no choice of algorithm: the same sums in the same order every time."""
    torch.set_num_threads(1)
    torch.use_deterministic_algorithms(True)
