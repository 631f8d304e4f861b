"""Runs clang-tidy over the C++ core, several files at a time, and remembers what was clean.

A file is checked again when it, any header, the configuration, or this script has changed. Kernel
translation units are left out: they are one template instantiated with flags that clang-tidy's
compiler may not know.
"""

import argparse
import hashlib
import json
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent


def sources(build: Path) -> list[Path]:
    """The files to check that the build knows how to compile."""
    known = json.loads(build.joinpath("compile_commands.json").read_text(encoding="utf-8"))
    paths = sorted({Path(entry["file"]) for entry in known})
    return [p for p in paths if p.is_relative_to(ROOT / "cpp") and "kernels_" not in p.name]


def shared_digest() -> "hashlib._Hash":
    """A hash over everything that can change the verdict on any file."""
    digest = hashlib.sha256()
    inputs = [ROOT / ".clang-tidy", Path(__file__), *sorted(ROOT.glob("cpp/**/*.h"))]
    for path in inputs:
        digest.update(path.read_bytes())
    return digest


def check(tidy: str, build: Path, path: Path, key: str) -> bool:
    """True when the file is clean, by memory or by running clang-tidy."""
    name = path.relative_to(ROOT).as_posix().replace("/", "-")
    stamp = build / "tidy-cache" / f"{name}.{key[:24]}"
    if stamp.exists():
        return True
    command = [tidy, "-p", str(build), "--quiet", str(path)]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode != 0:
        print(f"{path.relative_to(ROOT)}\n{result.stdout}{result.stderr}", flush=True)
        return False
    stamp.parent.mkdir(exist_ok=True)
    stamp.touch()
    return True


def main() -> int:
    """Checks all files; 0 when all are clean."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", type=Path, default=ROOT / "build")
    parser.add_argument("--jobs", type=int, default=2)
    options = parser.parse_args()
    tidy = shutil.which("clang-tidy-14") or shutil.which("clang-tidy")
    if tidy is None:
        print("clang-tidy is not installed", file=sys.stderr)
        return 1
    build, shared = options.build.resolve(), shared_digest()

    def run(path: Path) -> bool:
        digest = shared.copy()
        digest.update(path.read_bytes())
        return check(tidy, build, path, digest.hexdigest())

    paths = sources(build)
    with ThreadPoolExecutor(options.jobs) as pool:
        clean = list(pool.map(run, paths))
    print(f"clang-tidy: {sum(clean)} of {len(paths)} files clean")
    return 0 if all(clean) else 1


if __name__ == "__main__":
    sys.exit(main())
