"""A small Hugging Face hub: a real HTTP server that serves repositories out of dictionaries."""

import hashlib
import json
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "c0ffee" + "0" * 34
# Two accounts: one that was let into the gated repositories, and one that was not.
MEMBER = "hf_good" + "G" * 20
STRANGER = "hf_other" + "O" * 20


@dataclass(frozen=True)
class Repository:
    """One model's files, by their path."""

    files: Mapping[str, bytes]
    gated: bool = False
    disabled: bool = False

    @classmethod
    def of(cls, folder: Path, **options: bool) -> "Repository":
        paths = (path for path in folder.rglob("*") if path.is_file())
        return cls({path.relative_to(folder).as_posix(): path.read_bytes() for path in paths}, **options)


class FakeHub:
    """Speaks what huggingface_hub asks of the real one, and fails in the ways in which that does.

    Attributes:
        repositories: by their id; may be changed while the hub runs.
        requests: what was asked, such as ``GET /api/models/demo/tiny``.
        resumed: the files of which only the rest was asked for.
        fault: None, or what requests get: a status, ``web page`` or ``silence``.
        fault_at: the part of a path that such a request has; empty for every one.
        break_off: files whose next download ends in the middle.
        stall: files whose next download stops in the middle, while the connection stays open.
        stalled: set once one of them has.
        states_sizes: whether a repository's description has the sizes of its files.
    """

    def __init__(self) -> None:
        self.repositories: dict[str, Repository] = {}
        self.requests: list[str] = []
        self.resumed: list[str] = []
        self.fault: int | str | None = None
        self.fault_at = ""
        self.break_off: set[str] = set()
        self.stall: set[str] = set()
        self.stalled = threading.Event()
        self.states_sizes = True
        self.closing = threading.Event()
        self._port = 0
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self._port}"

    def start(self) -> None:
        """Be reachable, at the same address as before."""
        self.closing.clear()
        self._server = _Server(self, self._port)
        self._port = self._server.server_port
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01})
        self._thread.start()

    def stop(self) -> None:
        """Be gone: connections are refused."""
        self.closing.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @contextmanager
    def gone(self) -> Iterator[None]:
        """Nobody reaches the hub meanwhile."""
        self.stop()
        try:
            yield
        finally:
            self.start()

    def downloads(self, path: str) -> int:
        """How often a file's content was asked for."""
        return sum(request.startswith("GET") and request.endswith(f"/{path}") for request in self.requests)


class _Server(ThreadingHTTPServer):
    # The library opens eight connections at once.
    request_queue_size = 64

    def __init__(self, hub: FakeHub, port: int) -> None:
        self.hub = hub
        super().__init__(("127.0.0.1", port), _Handler)


class _Handler(BaseHTTPRequestHandler):
    """One request; its connection is not kept open, so that a hub that is gone is gone."""

    server: _Server

    def do_GET(self) -> None:
        hub, path = self.server.hub, unquote(urlsplit(self.path).path)
        hub.requests.append(f"{self.command} {path}")
        match hub.fault if hub.fault_at in path else None:
            case None:
                self._answer(hub, path)
            case "web page":
                self._send(200, b"<!doctype html><title>Log in to this network</title>", {"Content-Type": "text/html"})
            case "silence":
                hub.closing.wait()
            case status:
                self._refuse(int(status), "Internal Error")

    do_HEAD = do_GET  # noqa: N815  the base class names it

    def log_message(self, *arguments: object) -> None:
        pass

    def _answer(self, hub: FakeHub, path: str) -> None:
        is_api = path.startswith("/api/models/")
        owner, name, call, *rest = f"{path.removeprefix('/api/models').strip('/')}///".split("/")
        repo_id, file = f"{owner}/{name}", "/".join(rest[1:]).strip("/")
        repository = hub.repositories.get(repo_id)
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        if token not in ("", MEMBER, STRANGER):
            self._refuse(401, "Invalid credentials in Authorization header")
        elif repository is None:
            # The real one sends this code with a 404 only; without it, the library takes a 401 for an unknown
            # repository only where the address begins with https.
            self._refuse(404 if token else 401, "Repository not found", code="RepoNotFound")
        elif repository.disabled:
            self._refuse(403, "Access to this resource is disabled.")
        elif is_api and call in ("", "revision"):
            siblings = [{"rfilename": name, **self._size(name, repository)} for name in repository.files]
            self._send_json({"id": repo_id, "sha": COMMIT, "siblings": siblings, "gated": repository.gated})
        elif repository.gated and token != MEMBER:
            self._refuse(403 if token else 401, f"Access to model {repo_id} is restricted.", code="GatedRepo")
        elif is_api and call == "auth-check":
            self._send_json("OK")
        elif is_api and call == "tree":
            self._send_json([_entry(name, content) for name, content in repository.files.items()])
        elif call == "resolve" and file in repository.files:
            self._send_file(hub, file, repository.files[file])
        else:
            self._refuse(404, "Entry not found", code="EntryNotFound")

    def _size(self, name: str, repository: Repository) -> dict[str, int]:
        return {"size": len(repository.files[name])} if self.server.hub.states_sizes else {}

    def _send_file(self, hub: FakeHub, name: str, content: bytes) -> None:
        headers = {
            "ETag": f'"{_entry(name, content)["oid"]}"',
            "X-Repo-Commit": COMMIT,
            # The invitation to the other way of downloading, behind which there is nothing here.
            "X-Xet-Hash": hashlib.sha256(content).hexdigest(),
            "Link": f'<{hub.url}/xet-read-token>; rel="xet-auth"',
        }
        if self.command == "HEAD":
            self._send(200, content, headers)
            return
        start = int(self.headers.get("Range", "bytes=0-").removeprefix("bytes=").removesuffix("-"))
        if start:
            hub.resumed.append(name)
            headers["Content-Range"] = f"bytes {start}-{len(content) - 1}/{len(content)}"
        breaks, stalls = name in hub.break_off, name in hub.stall
        hub.break_off.discard(name)
        hub.stall.discard(name)
        sent = content[start : start + len(content) // 2] if breaks or stalls else content[start:]
        self._send(206 if start else 200, sent, {**headers, "Content-Length": str(len(content) - start)})
        if stalls:
            hub.stalled.set()
            hub.closing.wait()

    def _send_json(self, value: object) -> None:
        self._send(200, json.dumps(value).encode(), {"Content-Type": "application/json"})

    def _refuse(self, status: int, message: str, code: str | None = None) -> None:
        headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})
        self._send(status, json.dumps({"error": message}).encode(), headers)

    def _send(self, status: int, body: bytes, headers: Mapping[str, str]) -> None:
        self.send_response(status, HTTPStatus(status).phrase)
        for name, value in ({"Content-Length": str(len(body))} | dict(headers)).items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)
            self.wfile.flush()


def _entry(name: str, content: bytes) -> dict[str, object]:
    return {"type": "file", "path": name, "size": len(content), "oid": hashlib.sha1(content).hexdigest()}
