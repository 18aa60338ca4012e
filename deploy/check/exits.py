"""The exit codes that a Job's policy names are those with which a worker ends, brought about one by one."""

import os
import subprocess
import tempfile

from render import name

# Exit code 5 needs a coordinator over a store that this worker cannot open: images.sh brings it about.
# Told to leave, with work left: brought about when the check's own worker is ended.
LEFT = {8}
CASES = {
    2: (["--no-such-flag"], {}),
    3: (["--coordinator", "no such address"], {}),
    7: (["--coordinator", "http://127.0.0.1:1"], {"OMP_THREAD_LIMIT": "1"}),
}


def seen(program):
    """By the code that is expected, the code with which it ended and what it said."""
    worker, found = program.command[0], {}
    for code, (arguments, more) in CASES.items():
        with tempfile.TemporaryDirectory() as home:
            environment = {**os.environ, "HOME": home, "PATH": os.environ["PATH"], **more}
            done = subprocess.run([worker, *arguments], env=environment, capture_output=True, text=True, timeout=120)
        found[code] = (done.returncode, done.stderr.strip().splitlines()[-1:])
    # What its help says it ends with, where it says so.
    return {code: (code, what) for code, what in program.exits.items()} | found


def wrong(objects, seen):
    for object in objects:
        for rule in object.get("spec", {}).get("podFailurePolicy", {}).get("rules", []) if object["kind"] == "Job" else []:
            codes = rule.get("onExitCodes", {})
            for code in codes.get("values", []):
                if code == 5 or code in LEFT:
                    continue
                if seen.get(code, (None,))[0] != code:
                    yield f"{name(object)}: podFailurePolicy: a worker never ended with {code}: {seen.get(code)}"
            names = [c["name"] for c in object["spec"]["template"]["spec"]["containers"]]
            if codes and codes["containerName"] not in names:
                yield f"{name(object)}: podFailurePolicy: no container {codes['containerName']}"
