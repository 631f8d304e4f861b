"""Stands in for setuptools while CMake lets pip fetch a source archive; see build_meta.py."""
