"""Jobs of `worker.py`, started when their result is not kept yet: a run that was cut goes on.

A result is kept in a file named by a digest of everything it depends on: the job with its specs,
efforts and queries, the versions of the libraries (for srvdb its compiled code), the rows and the
queries, and the machine. So a new build of srvdb measures itself and its duels again, and nothing
of the peers alone. A job that ran out of time is remembered as well, with its limit.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import tempfile
from collections.abc import Collection
from pathlib import Path
from typing import Any

from benchmarks.report import HERE


class Skipped(Exception):  # noqa: N818
    """A library that could not be measured; the message says why."""


def digest(key: dict[str, Any]) -> str:
    """A short name for a key: the same for equal keys, whatever the order of their parts."""
    return hashlib.sha256(json.dumps(key, sort_keys=True).encode()).hexdigest()[:12]


class Jobs:
    """Runs jobs and keeps their results in `folder`; kinds named in `fresh` are run again."""

    def __init__(self, folder: Path, limit_s: float, fresh: Collection[str] = ()) -> None:
        self.folder = folder
        self.limit_s = limit_s
        self.fresh = fresh

    def run(
        self, name: str, job: dict[str, Any], depends: dict[str, Any], again: bool = False
    ) -> dict[str, Any]:
        """The result of a job, from the file or from a new process; `again` for the latter.

        `depends` is what the result depends on besides the job; parts of the job that name places
        (`cache`, `path`, `queries` as a file) belong into `job` but not into the key.
        """
        places: set[str] = {part for part in ("cache", "path") if part in job}
        if isinstance(job.get("queries"), str):
            places.add("queries")
        known = {part: value for part, value in job.items() if part not in places}
        key = {"job": known, "depends": depends}
        file = self.folder / f"{name}-{job['kind']}-{digest(key)}.json"
        if file.exists() and job["kind"] not in self.fresh:
            kept = json.loads(file.read_text())
            if "result" in kept and not again:
                return dict(kept["result"])
            if kept.get("limit_s", 0) >= self.limit_s:
                raise Skipped(kept["skipped"])
        try:
            result = self._start(name, job)
        except subprocess.TimeoutExpired:
            reason = f"{name}: {job['kind']} takes more than {self.limit_s:g} s"
            self._keep(file, {"key": key, "skipped": reason, "limit_s": self.limit_s})
            raise Skipped(reason) from None
        self._keep(file, {"key": key, "result": result})
        return result

    def _start(self, name: str, job: dict[str, Any]) -> dict[str, Any]:
        with tempfile.TemporaryDirectory() as folder:
            out = Path(folder) / "result.json"
            command = [sys.executable, "-m", "benchmarks.peers.worker", json.dumps(job), str(out)]
            done = subprocess.run(
                command, cwd=HERE.parent, capture_output=True, text=True, timeout=self.limit_s
            )
            if done.returncode or not out.exists():
                lines = done.stderr.strip().splitlines() or [f"exit status {done.returncode}"]
                raise Skipped(f"{name}: {job['kind']} failed: {lines[-1][:300]}")
            return dict(json.loads(out.read_text()))

    def _keep(self, file: Path, record: dict[str, Any]) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".unfinished")
        unfinished.write_text(json.dumps(record, indent=1) + "\n")
        unfinished.replace(file)
