"""Maintenance from the command line: ``python -m srvdb verify|repair|restore``.

Exit status: 0 when all is well, 1 when there is something to read, 2 when it could not be done.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence

from srvdb._lifecycle import restore
from srvdb._maintenance import repair, verify
from srvdb._native import __version__
from srvdb.errors import SrvDBError

_SOUND, _PROBLEMS, _FAILED, _INTERRUPTED = 0, 1, 2, 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="srvdb", description="Maintenance of srvdb databases.")
    parser.add_argument("--version", action="version", version=__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")

    check = commands.add_parser("verify", help="tell what is damaged; writes nothing")
    check.add_argument("path", metavar="PATH", help="the database")
    check.add_argument("--deep", action="store_true", help="read everything, not only headers")

    save = commands.add_parser("repair", help="save what is sound into a new database")
    save.add_argument("path", metavar="PATH", help="the damaged database; it is only read")
    save.add_argument("out", metavar="OUT", help="where the new one is made: absent or empty")
    save.add_argument("--metric", choices=["cosine", "ip", "l2"], help="if nothing else tells it")

    unpack = commands.add_parser("restore", help="unpack a compressed backup")
    unpack.add_argument("file", metavar="FILE", help="the backup")
    unpack.add_argument("path", metavar="PATH", help="where to: absent or empty")
    for command in (check, save):
        command.add_argument("--progress", action="store_true", help="show how far it is")
    return parser


def _verify(arguments: argparse.Namespace) -> int:
    report = verify(arguments.path, deep=arguments.deep, progress=arguments.progress)
    for problem in report.problems:
        print(problem)
    if report.omitted:
        print(f"and {report.omitted} more")
    verdict = "sound" if report.is_sound else "DAMAGED"
    depth = "everything read" if report.deep else "headers, lengths, log and state; see --deep"
    looked_at = f"{report.rows} rows, {report.files} files, {report.snapshots} snapshots"
    print(f"{arguments.path}: {verdict} ({looked_at}; {depth})")
    return _SOUND if report.is_sound else _PROBLEMS


def _repair(arguments: argparse.Namespace) -> int:
    report = repair(
        arguments.path, arguments.out, metric=arguments.metric, progress=arguments.progress
    )
    for item in report.items:
        print(item)
    if report.omitted:
        print(f"and {report.omitted} more")
    print(f"{arguments.out}: {report.saved} ids saved, {report.deleted} of them soft-deleted")
    if not report.is_complete:
        print(f"{len(report.items) + report.omitted} things are lost or doubtful: listed above")
    return _SOUND if report.is_complete else _PROBLEMS


def _restore(arguments: argparse.Namespace) -> int:
    restore(arguments.file, arguments.path)
    print(f"{arguments.path}: restored from {arguments.file}")
    return _SOUND


def main(argv: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status."""
    arguments = _parser().parse_args(argv)
    command = {"verify": _verify, "repair": _repair, "restore": _restore}[arguments.command]
    try:
        return command(arguments)
    except SrvDBError as error:
        print(f"srvdb: {error}", file=sys.stderr)
        return _FAILED
    except KeyboardInterrupt:
        return _INTERRUPTED


if __name__ == "__main__":
    sys.exit(main())
