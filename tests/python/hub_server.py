"""A hub on this machine: the part of Hugging Face's published API that a download needs, over repositories that the caller puts together.

Files larger than SMALL are sent by another origin, to which the hub redirects, as the real one's large files are.
"""

import hashlib
import json
import re
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

SMALL = 4096


@dataclass
class Repository:
    """A repository at one revision: `name` is models/org/name or datasets/org/name, `files` are bytes by path."""

    name: str
    revision: str
    files: dict[str, bytes]

    @property
    def commit(self):
        return hashlib.sha1(json.dumps([self.name, self.revision, {f: sha256(b) for f, b in self.files.items()}]).encode()).hexdigest()


@dataclass
class Hub:
    endpoint: str
    # (method, path) of every request to the hub, and of every body that the other origin sent.
    asked: list = field(default_factory=list)
    sent: list = field(default_factory=list)


def sha256(body):
    return hashlib.sha256(body).hexdigest()


def git_id(body):
    return hashlib.sha1(b"blob %d\0" % len(body) + body).hexdigest()


def etag(body):
    """Of a small file git's own id, of a large one its content's hash."""
    return git_id(body) if len(body) <= SMALL else sha256(body)


def described(repository):
    listed = [{"rfilename": file} for file in repository.files]
    return {"id": repository.name.split("/", 1)[1], "sha": repository.commit, "siblings": listed, "private": False, "tags": []}


def tree(repository):
    """Every file with git's id, and of large ones their content's hash. Folders are not asked for."""
    for file, body in repository.files.items():
        large = {"lfs": {"oid": sha256(body), "size": len(body), "pointerSize": 134}} if len(body) > SMALL else {}
        yield {"type": "file", "path": file, "size": len(body), "oid": git_id(body), **large}


@contextmanager
def serve(repositories):
    hub = Hub("")
    large = {sha256(b): b for r in repositories for b in r.files.values()}

    class Quiet(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def log_message(self, *_):
            pass

        def answer(self, status, body=b"", **headers):
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            for name, value in headers.items():
                self.send_header(name.replace("_", "-"), value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body)

        def do_HEAD(self):
            self.do_GET()

    class Network(Quiet):
        def do_GET(self):
            body = large[urlsplit(self.path).path[1:]]
            if self.command == "GET":
                hub.sent.append(self.path)
            self.answer(200, body)

    class Origin(Quiet):
        def do_GET(self):
            hub.asked.append((self.command, unquote(self.path)))
            path = urlsplit(self.path).path
            if called := re.fullmatch("/api/(.+)/(revision|tree)/(.+)", path):
                if found := find(called[1], unquote(called[3])):
                    said = described(found) if called[2] == "revision" else list(tree(found))
                    return self.answer(200, json.dumps(said).encode(), Content_Type="application/json")
            elif "/resolve/" in path:
                name, rest = path[1:].split("/resolve/")
                revision, file = rest.split("/", 1)
                found = find(name if name.startswith("datasets/") else f"models/{name}", unquote(revision))
                if found and (body := found.files.get(unquote(file))) is not None:
                    return self.file(found, body)
            self.answer(404, b"{}", X_Error_Code="EntryNotFound" if "/resolve/" in path else "RepoNotFound")

        def file(self, found, body):
            if len(body) <= SMALL:
                return self.answer(200, body, ETag=f'"{etag(body)}"', X_Repo_Commit=found.commit)
            at = f"http://localhost:{network.server_address[1]}/{sha256(body)}?Signature=s"
            self.answer(302, b"", Location=at, X_Repo_Commit=found.commit, X_Linked_ETag=f'"{etag(body)}"', X_Linked_Size=str(len(body)))

    def find(name, revision):
        return next((r for r in repositories if r.name == name and revision in (r.revision, r.commit)), None)

    origin, network = (ThreadingHTTPServer(("127.0.0.1", 0), handler) for handler in (Origin, Network))
    hub.endpoint = f"http://127.0.0.1:{origin.server_address[1]}"
    try:
        for server in (origin, network):
            threading.Thread(target=server.serve_forever, daemon=True).start()
        yield hub
    finally:
        for server in (origin, network):
            server.shutdown()
            server.server_close()
