"""A small Hugging Face Hub on loopback: repositories are folders, by revision."""

import dataclasses
import hashlib
import http.server
import json
import pathlib
import threading
import urllib.parse
from collections.abc import Mapping

FIRST, SECOND = "1" * 40, "2" * 40


@dataclasses.dataclass
class Repository:
    """One repository.

    Attributes:
        commits: commit -> folder with its files.
        revisions: branch or tag -> commit.
        token: who has it may read the files; "" is everybody.
    """

    commits: Mapping[str, pathlib.Path]
    revisions: Mapping[str, str] = dataclasses.field(default_factory=lambda: {"main": FIRST})
    token: str = ""


class Hub(http.server.ThreadingHTTPServer):
    """Answers the requests of huggingface_hub, as a context manager.

    Attributes:
        repositories: name -> repository.
        asked: every request, as "GET /path".
        cut: name of a file -> bytes after which the connection ends, once.
        status: answer everything with this, if it is not 0.
    """

    daemon_threads = True

    def __init__(self, **repositories: Repository) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.repositories = {k.replace("__", "/"): v for k, v in repositories.items()}
        self.asked: list[str] = []
        self.cut: dict[str, int] = {}
        self.status = 0
        self.thread = threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True)

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Hub":
        self.thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()
        self.thread.join()

    def files(self) -> list[str]:
        """Names of the files whose content was asked for, in order."""
        paths = [line.split()[1] for line in self.asked if line.startswith("GET /")]
        return [p.split("/resolve/")[1].split("/", 1)[1] for p in paths if "/resolve/" in p]


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Hub

    def log_message(self, *_: object) -> None:
        pass

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def _answer(self) -> None:
        path = urllib.parse.unquote(self.path.split("?")[0])
        self.server.asked.append(f"{self.command} {path}")
        if self.server.status:
            self._send(self.server.status, b"")
        elif path.startswith("/api/models/"):
            name, _, revision = path.removeprefix("/api/models/").partition("/revision/")
            self._info(name, revision or "main")
        elif "/resolve/" in path:
            name, _, rest = path.strip("/").partition("/resolve/")
            revision, _, file = rest.partition("/")
            self._file(name, revision, file)
        else:
            self._send(404, b"")

    def _commit(self, name: str, revision: str) -> str | None:
        """The commit; None if the answer was given: there is no such repository or revision."""
        found = self.server.repositories.get(name)
        if found is None:
            # as the Hub does to those who are not logged in
            self._send(401, b"", X_Error_Code="RepoNotFound")
            return None
        commit = found.revisions.get(revision, revision)
        if commit not in found.commits:
            self._send(404, b"", X_Error_Code="RevisionNotFound")
            return None
        return commit

    def _info(self, name: str, revision: str) -> None:
        commit = self._commit(name, revision)
        if commit is None:
            return
        folder = self.server.repositories[name].commits[commit]
        files = sorted(str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file())
        answer = {"id": name, "sha": commit, "siblings": [{"rfilename": file} for file in files]}
        self._send(200, json.dumps(answer).encode(), Content_Type="application/json")

    def _file(self, name: str, revision: str, file: str) -> None:
        commit = self._commit(name, revision)
        if commit is None:
            return
        found = self.server.repositories[name]
        if found.token and self.headers.get("Authorization") != f"Bearer {found.token}":
            return self._send(403, b"", X_Error_Code="GatedRepo")
        path = found.commits[commit] / file
        if not path.is_file():
            return self._send(404, b"", X_Error_Code="EntryNotFound", X_Repo_Commit=commit)
        raw = path.read_bytes()
        headers = {
            "X_Repo_Commit": commit,
            "ETag": f'"{hashlib.sha256(raw).hexdigest()}"',
            "X_Linked_Size": str(len(raw)),
            "Accept_Ranges": "bytes",
        }
        status, start = 200, 0
        if given := self.headers.get("Range"):
            start = int(given.removeprefix("bytes=").split("-")[0])
            status = 206
            headers["Content_Range"] = f"bytes {start}-{len(raw) - 1}/{len(raw)}"
            self.server.asked[-1] += f" from {start}"
        self._send(status, raw[start:], self.server.cut.pop(file, None), **headers)
        return None

    def _send(self, status: int, body: bytes, cut: int | None = None, **headers: str) -> None:
        if self.command == "HEAD" and cut is not None:
            self.server.cut[self.path.rsplit("/", 1)[1]], cut = cut, None
        self.send_response(status)
        for key, value in headers.items():
            self.send_header(key.replace("_", "-"), value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body if cut is None else body[:cut])
            if cut is not None:
                self.wfile.flush()
                self.close_connection = True
