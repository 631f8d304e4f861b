"""Prints the requirements of some extras of pyproject.toml, one a line.

``build`` means those of the build system.

Usage: requirements.py build test ...
"""

import sys
from pathlib import Path

try:
    import tomllib
except ModuleNotFoundError:  # Python 3.10
    from pip._vendor import tomli as tomllib


def main() -> None:
    """Reads the file beside this folder and prints."""
    text = Path(__file__).parent.parent.joinpath("pyproject.toml").read_text(encoding="utf-8")
    settings = tomllib.loads(text)
    groups = {
        "build": settings["build-system"]["requires"] + settings["project"]["dependencies"],
        **settings["project"]["optional-dependencies"],
    }
    print("\n".join(sorted({line for name in sys.argv[1:] for line in groups[name]})))


if __name__ == "__main__":
    main()
