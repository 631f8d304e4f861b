"""What the model test does to a database, as data; and the processes that do it beside the test.

A step is ``[verb, argument, …]`` of JSON values, so that it can be applied here or sent to a child.
Moments are milliseconds since 1970, 0 for never. Run as a program this serves one of two trades,
a JSON object a line on stdin, one a line on stdout: it runs steps in a forked child that is killed
in the midst of them, or it keeps a reader open.
"""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from datetime import datetime, timedelta, timezone

import srvdb
from filter_reference import matches
from srvdb._native import set_clock_for_tests

WHERES = [{"n": {"$gte": 0}}, {"n": {"$ne": 3}, "m": {"$exists": False}}, {"$not": {"m": -1}}]
EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)


def moment(ms):
    """As the methods of a database take it; None stays None."""
    if ms is None:
        return None
    return EPOCH + timedelta(milliseconds=ms) if ms else srvdb.NEVER


def set_clock(ms):
    set_clock_for_tests(None if ms is None else ms * 1000)


def apply(db, step):
    """Do it; returns what the method returns, where a model can know it."""
    verb, *arguments = step
    if verb in ("add", "upsert"):
        ids, vectors, metadatas, expiries = zip(*arguments[0], strict=True)
        return getattr(db, verb)(ids, vectors, metadatas, expires_at=list(map(moment, expiries)))
    if verb == "batch_update":
        return db.batch_update(
            {"id": id, "embedding": vector, "metadata": metadata, "expires_at": moment(ms)}
            for id, vector, metadata, ms in arguments[0]
        )
    if verb == "update":
        id, vector, metadata, ms = arguments
        return db.update(id, vector, metadata, expires_at=moment(ms))
    if verb == "update where":
        where, metadata, ms = arguments
        return db.update(where=where, metadata=metadata, expires_at=moment(ms))
    if verb.endswith(" where"):
        return getattr(db, verb.split()[0])(where=arguments[0])
    if verb == "restore_snapshot":
        db.restore_snapshot(arguments[0], keep_current=arguments[1])
    elif verb in ("compact", "create_snapshot", "optimize", "persist", "drop_snapshot"):
        getattr(db, verb)(*arguments)
    else:
        return getattr(db, verb)(*arguments)
    return None


def contents(db):
    """Everything there is: ``{id: [vector, metadata, expiry, soft-deleted]}``, consistently."""
    live, deleted = list(db), db.deleted_ids()
    assert live == sorted(live)
    assert deleted == sorted(deleted)
    assert len(db) == db.count() == len(live)
    found = {}
    for record in db.get_records(
        live + deleted, include=("metadata", "embedding"), include_deleted=True
    ):
        ms = (record.expires_at - EPOCH) // timedelta(milliseconds=1) if record.expires_at else 0
        found[record.id] = [record.embedding.tolist(), record.metadata, ms, record.deleted]
    assert [id for id in sorted(found) if found[id][3]] == deleted
    assert [id for id in sorted(found) if not found[id][3]] == live
    filters_agree(db, {id: found[id][1] for id in live})
    return found


def filters_agree(db, documents):
    """Whether filters and facets say the same as the documents."""
    for where in WHERES:
        wanted = [id for id, document in documents.items() if matches(where, id, document)]
        assert db.count(where) == len(wanted), where
        assert [record.id for record in db.scroll(where=where)] == wanted, where
    counts = {}
    for document in documents.values():
        if "n" in document:
            counts[document["n"]] = counts.get(document["n"], 0) + 1
    assert dict(db.facet("n")) == counts


def change_log(db):
    """``[operation, ids in order]`` of each entry that changed rows, and of trimming."""
    kinds = {"add", "upsert", "update", "delete", "soft_delete", "restore", "trim_change_log"}
    log = db.change_log(limit=None)
    assert [entry.sequence for entry in log] == sorted({entry.sequence for entry in log})
    return [[entry.operation, sorted(entry.ids)] for entry in log if entry.operation in kinds]


# ---- the other process ---------------------------------------------------------------------------


class Helper:
    """Another Python process that serves the requests below."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, __file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        )

    def ask(self, **request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        answer = self.process.stdout.readline()
        assert answer, f"the other process ended with {self.process.wait()}"
        answer = json.loads(answer)
        assert "error" not in answer, answer["error"]
        return answer

    def end(self):
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(timeout=30)


def run_and_be_killed(path, now, steps, kill_after, delay, options):
    """Apply steps in a child that is killed `delay` seconds after step `kill_after` has begun."""
    read, write = os.pipe()
    child = os.fork()
    if child == 0:
        status = 1
        try:
            os.close(read)
            run(path, now, steps, kill_after, delay, options, write)
            status = 0
        finally:
            os._exit(status)
    os.close(write)
    with os.fdopen(read) as pipe:
        lines = pipe.read().splitlines()
    _, status = os.waitpid(child, 0)
    killed = os.WIFSIGNALED(status) and os.WTERMSIG(status) == signal.SIGKILL
    return {"lines": [json.loads(line) for line in lines], "killed": killed, "status": status}


def run(path, now, steps, kill_after, delay, options, pipe):
    set_clock(now)
    db = srvdb.open(path, **options)

    def kill():
        time.sleep(delay)
        os.kill(os.getpid(), signal.SIGKILL)

    for number, step in enumerate(steps):
        if number == kill_after:
            threading.Thread(target=kill).start()
        try:
            answer = ["ok", apply(db, step)]
        except srvdb.SrvDBError as error:
            answer = ["error", type(error).__name__]
        os.write(pipe, (json.dumps(answer) + "\n").encode())
    time.sleep(60)  # until it is killed


def serve():
    readers = {}
    for line in sys.stdin:
        request = json.loads(line)
        trade = request.pop("trade")
        try:
            if trade == "kill":
                answer = run_and_be_killed(**request)
            elif trade == "forget":
                for reader in readers.values():
                    reader.close()
                readers.clear()
                answer = {}
            else:
                set_clock(request["now"])
                path = request["path"]
                if path not in readers:
                    readers[path] = srvdb.open(path, read_only=True)
                if trade == "refresh":
                    readers[path].refresh()
                answer = {"rows": contents(readers[path]), "log": change_log(readers[path])}
        except Exception as error:
            answer = {"error": f"{type(error).__name__}: {error}"}
        print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    serve()
