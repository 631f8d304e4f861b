"""A build backend that builds nothing: it tells pip the name and the version of a source archive.

``pip download`` insists on metadata even for an archive that it only saves. The real backend would
have to be installed first and might compile; PKG-INFO has the answer already.
"""

import re
from pathlib import Path


def get_requires_for_build_wheel(config_settings=None):
    return []


def prepare_metadata_for_build_wheel(metadata_directory, config_settings=None):
    info = Path("PKG-INFO").read_text(encoding="utf-8")
    name, version = (
        re.search(rf"^{key}: *(\S+)", info, re.MULTILINE).group(1) for key in ("Name", "Version")
    )
    folder = Path(metadata_directory, f"{re.sub('[-.]+', '_', name)}-{version}.dist-info")
    folder.mkdir(parents=True)
    folder.joinpath("METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8"
    )
    return folder.name


class __legacy__:  # noqa: N801 - the name pip looks up for archives without a pyproject.toml
    get_requires_for_build_wheel = staticmethod(get_requires_for_build_wheel)
    prepare_metadata_for_build_wheel = staticmethod(prepare_metadata_for_build_wheel)
