"""Applies unified diffs to a set of source files and writes the results to a folder.

Stands in for the ``patch`` program, which not every machine has. A hunk must match exactly, but
may have moved; a hunk that matches nowhere is an error. Files are found by their last name. Results
that are already there are left alone, so that nothing is compiled twice.
"""

import argparse
import re
import sys
from pathlib import Path

HUNK = re.compile(r"@@ -(\d+)(?:,\d+)? \+\d+(?:,\d+)? @@")


def find_block(lines: list[str], block: list[str], near: int) -> int:
    """Index of the block in the lines that is nearest to ``near``."""
    places = range(len(lines) - len(block) + 1)
    for at in sorted(places, key=lambda i: abs(i - near)):
        if lines[at : at + len(block)] == block:
            return at
    raise ValueError(f"no match near line {near + 1}")


def apply_hunk(lines: list[str], body: list[str], near: int) -> list[str]:
    """The lines with one hunk applied."""
    before = [line[1:] for line in body if line[0] in " -"]
    after = [line[1:] for line in body if line[0] in " +"]
    at = find_block(lines, before, near)
    return lines[:at] + after + lines[at + len(before) :]


def apply_patch(files: dict[str, list[str]], patch: str) -> None:
    """Applies every hunk of a patch to the files it names."""
    target, start, body = "", 0, []

    def finish() -> None:
        if body:
            files[target] = apply_hunk(files[target], body, start - 1)
            body.clear()

    for line in patch.splitlines():
        header = HUNK.match(line)
        if line.startswith(("diff ", "--- ", "index ")):
            finish()
        elif line.startswith("+++ "):
            target = line.split()[1].rsplit("/", 1)[-1]
        elif header:
            finish()
            start = int(header.group(1))
        elif target and start and (line == "" or line[0] in " +-"):
            body.append(line or " ")
    finish()


def main() -> int:
    """Reads, patches, writes."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--output", type=Path, required=True)
    parser.add_argument("--sources", type=Path, nargs="+", required=True)
    parser.add_argument("--patches", type=Path, nargs="+", required=True)
    options = parser.parse_args()

    files = {p.name: p.read_text(encoding="utf-8").splitlines() for p in options.sources}
    for patch in options.patches:
        try:
            apply_patch(files, patch.read_text(encoding="utf-8"))
        except (KeyError, ValueError) as error:
            print(f"{patch.name}: {error}", file=sys.stderr)
            return 1
    options.output.mkdir(parents=True, exist_ok=True)
    for name, lines in files.items():
        path, text = options.output / name, "\n".join(lines) + "\n"
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            path.write_text(text, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
