"""The code base itself under test: layers, homes of libraries, sizes, symbols of kernels."""

import ast
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
CPP = ROOT / "cpp"
PACKAGE = ROOT / "python" / "srvdb"

# Layer -> the layers right below it; a layer may include all that is below it.
LAYERS = {
    "base": [],
    "simd": ["base"],
    "distance": ["simd"],
    "quant": ["distance"],
    "index": ["quant"],
    "storage": ["base"],
    "filter": ["simd"],
    "database": ["index", "storage", "filter"],
    "bindings": ["database"],
}

# Header of an outside library -> the one layer that may include it, and in how many of its files.
HOMES = {
    r"xsimd/": ("simd", None),
    r"(unsupported/)?Eigen/": ("quant", None),
    r"lmdb\.h$": ("storage", 1),
    r"zstd(_errors)?\.h$": ("storage", 1),
    r"tsl/": ("database", 1),
    r"simdjson\.h$": ("filter", 1),
    r"re2/": ("filter", 1),
    r"pybind11/|Python\.h$|numpy/": ("bindings", None),
}

# What belongs to the language, the system or the compiler. C++ standard headers have no dot.
SYSTEM_HEADER = re.compile(
    r"^([a-z_0-9]+|(sys|linux|mach|asm)/[a-z_0-9]+\.h"
    r"|(unistd|cpuid|fcntl|pthread|sched|signal|dirent|poll|errno|stdio|stdlib|string|stdint|stddef"
    r"|limits|time|malloc|arm_neon|arm_acle|[a-z]+intrin)\.h)$"
)

MAX_LINE_COLUMNS = 100
MAX_FILE_LINES = 600
MAX_FUNCTION_LINES = 70

IMPORTABLE = {"numpy", "srvdb"}  # by the package, anywhere
IMPORTABLE_ON_USE = {"pandas", "IPython", "tqdm"}  # by the package, inside a function only


def cpp_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.rglob("*") if p.suffix in {".h", ".cpp", ".c"})


def python_files() -> list[Path]:
    folders = ["python", "tests", "benchmarks", "scripts", "cmake"]
    return sorted(p for folder in folders for p in (ROOT / folder).rglob("*.py"))


def shown(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def below(layer: str) -> set[str]:
    """The layer and everything under it."""
    return {layer}.union(*(below(lower) for lower in LAYERS[layer]))


def includes(path: Path) -> list[tuple[str, str]]:
    """Pairs of the opening character and the name: ('<', 'vector'), ('"', 'srvdb/base/error.h')."""
    text = path.read_text(encoding="utf-8")
    return re.findall(r'^[ \t]*#[ \t]*include[ \t]*([<"])([^>"]+)[>"]', text, re.MULTILINE)


def layer_files(layer: str) -> list[Path]:
    return cpp_files(CPP / "bindings" if layer == "bindings" else CPP / "srvdb" / layer)


def include_target(path: Path, name: str) -> Path | None:
    """The file of ours that an include in quotes names."""
    candidates = [CPP / name, path.parent / name, ROOT / "tests" / "cpp" / name]
    return next((c for c in candidates if c.is_file()), None)


def layer_of(path: Path) -> str | None:
    parts = path.relative_to(ROOT).parts
    if parts[:2] == ("cpp", "bindings"):
        return "bindings"
    return parts[2] if parts[:2] == ("cpp", "srvdb") else None


def home_of(name: str) -> tuple[str, int | None] | None:
    return next((home for pattern, home in HOMES.items() if re.match(pattern, name)), None)


# ---- layers --------------------------------------------------------------------------------------


def test_every_source_folder_is_a_layer():
    found = {p.name for p in (CPP / "srvdb").iterdir() if p.is_dir()} | {"bindings"}
    assert found <= set(LAYERS)
    assert cpp_files(CPP / "srvdb")


@pytest.mark.parametrize("layer", LAYERS)
def test_a_layer_includes_only_what_is_below_it(layer):
    wrong = []
    for path in layer_files(layer):
        for opening, name in includes(path):
            target = include_target(path, name)
            if opening == '"' and target is None and home_of(name) is None:
                wrong.append(f"{shown(path)}: {name} does not exist")
            elif target is not None and layer_of(target) not in below(layer):
                wrong.append(f"{shown(path)} ({layer}) includes {name} ({layer_of(target)})")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("layer", LAYERS)
def test_outside_libraries_stay_in_their_one_home(layer):
    wrong = []
    for path in layer_files(layer):
        for opening, name in includes(path):
            home = home_of(name)
            if home is not None and home[0] != layer:
                wrong.append(f"{shown(path)}: {name} belongs to {home[0]}")
            elif home is None and opening == "<" and not SYSTEM_HEADER.match(name):
                wrong.append(f"{shown(path)}: {name} is of no library that has a home here")
    assert not wrong, "\n".join(wrong)


@pytest.mark.parametrize("pattern", [p for p, (_, files) in HOMES.items() if files == 1])
def test_a_library_with_one_file_for_a_home_is_included_there_alone(pattern):
    users = {
        shown(path)
        for path in cpp_files(CPP)
        for _, name in includes(path)
        if re.match(pattern, name)
    }
    assert len(users) <= 1, f"{pattern} is included by {sorted(users)}"


def test_memory_is_asked_for_in_two_files():
    users = {shown(path) for path in cpp_files(CPP) if "__builtin_prefetch(" in path.read_text()}
    home = "cpp/srvdb/"  # elsewhere the compiler may drop it (base/prefetch.h)
    assert users == {f"{home}base/prefetch.h", f"{home}simd/impl_common.h"}


def test_kernel_units_include_only_kernel_headers():
    wrong = []
    waiting = sorted((CPP / "srvdb" / "simd").glob("kernels_*.cpp"))
    seen = set(waiting)
    while waiting:
        path = waiting.pop()
        for opening, name in includes(path):
            target = include_target(path, name)
            if opening == '"' and target is not None and target not in seen:
                seen.add(target)
                waiting.append(target)
                if layer_of(target) != "simd":
                    wrong.append(f"{shown(path)} includes {name}")
    assert not wrong, "\n".join(wrong)


# ---- Python --------------------------------------------------------------------------------------


def imports(path: Path) -> Iterator[tuple[str, int, bool]]:
    """Absolute name, line, and whether it runs when the module is imported."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    inside = {
        id(node)
        for function in ast.walk(tree)
        if isinstance(function, ast.FunctionDef | ast.AsyncFunctionDef)
        for node in ast.walk(function)
    }
    typing_only = {
        id(node)
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and "TYPE_CHECKING" in ast.dump(block.test)
        for node in ast.walk(block)
    }
    for node in ast.walk(tree):
        on_import = id(node) not in inside and id(node) not in typing_only
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, node.lineno, on_import
        elif isinstance(node, ast.ImportFrom):
            module = ("srvdb." if node.level else "") + (node.module or "")
            yield module.rstrip("."), node.lineno, on_import
            for alias in node.names:
                yield f"{module.rstrip('.')}.{alias.name}", node.lineno, on_import


def test_the_extension_module_is_imported_in_one_file():
    users = {
        shown(path)
        for path in python_files()
        for name, _, _ in imports(path)
        if name == "srvdb._core" or name.startswith("srvdb._core.")
    }
    assert users <= {"python/srvdb/_native.py"}


def test_the_package_imports_only_the_standard_library_and_numpy():
    wrong = []
    for path in sorted(PACKAGE.rglob("*.py")):
        for name, line, on_import in imports(path):
            top = name.split(".")[0]
            known = top in IMPORTABLE or top in sys.stdlib_module_names
            if not known and (on_import or top not in IMPORTABLE_ON_USE):
                wrong.append(f"{shown(path)}:{line} imports {name}")
    assert not wrong, "\n".join(wrong)


def test_no_python_function_is_too_long():
    wrong = []
    for path in python_files():
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or node.lineno) - node.body[0].lineno + 1
                if ast.get_docstring(node) and len(node.body) > 1:
                    lines = (node.end_lineno or node.lineno) - node.body[1].lineno + 1
                if lines > MAX_FUNCTION_LINES:
                    wrong.append(f"{shown(path)}:{node.lineno} {node.name}: {lines} lines")
    assert not wrong, "\n".join(wrong)


# ---- sizes and headers ---------------------------------------------------------------------------


def source_files() -> list[Path]:
    cmake, shell = (ROOT / "cmake").glob("*.cmake"), (ROOT / "scripts").glob("*.sh")
    own = [ROOT / "CMakeLists.txt", *cmake, *shell]
    cpp = [p for folder in ("cpp", "tests", "benchmarks") for p in cpp_files(ROOT / folder)]
    return [*own, *cpp, *python_files()]


def test_files_and_lines_are_short_enough():
    wrong = []
    for path in source_files():
        lines = path.read_text(encoding="utf-8").splitlines()
        if len(lines) > MAX_FILE_LINES:
            wrong.append(f"{shown(path)}: {len(lines)} lines, at most {MAX_FILE_LINES}")
        for number, line in enumerate(lines, 1):
            if len(line) > MAX_LINE_COLUMNS:
                wrong.append(f"{shown(path)}:{number}: {len(line)} columns")
    assert not wrong, "\n".join(wrong)


def test_headers_open_with_their_contract():
    wrong = [
        shown(path)
        for path in cpp_files(CPP)
        if path.suffix == ".h"
        and not (
            path.read_text(encoding="utf-8").startswith("//")
            and "#pragma once" in path.read_text(encoding="utf-8")
        )
    ]
    assert not wrong, f"no comment on top, or no #pragma once: {wrong}"


# ---- symbols of the kernels ----------------------------------------------------------------------


def kernel_objects() -> dict[str, list[Path]]:
    """Instruction set -> object files, from the build folder."""
    build = Path(os.environ.get("SRVDB_BUILD_DIR", ROOT / "build"))
    found: dict[str, list[Path]] = {}
    for folder in sorted((build / "CMakeFiles").glob("srvdb_kernels_*.dir")):
        objects = sorted(folder.rglob("*.o"))
        if objects:
            found[folder.stem.removeprefix("srvdb_kernels_")] = objects
    return found


def weak_symbols(objects: list[Path]) -> set[str]:
    """Demangled names of the symbols that another object's may stand in for.

    The pointer to the exception personality routine is data, the same in every object.
    """
    command = ["nm", "--defined-only", "--demangle", "--format=posix", *map(str, objects)]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rows = re.findall(r"^(.*) ([A-Za-z]) [0-9a-f]+(?: [0-9a-f]+)?$", output, re.MULTILINE)
    weak = {name for name, kind in rows if kind in "WVu"}
    return weak - {"DW.ref.__gxx_personality_v0"}


@pytest.fixture(scope="module")
def objects() -> dict[str, list[Path]]:
    if shutil.which("nm") is None:
        pytest.skip("nm is not installed")
    found = kernel_objects()
    if not found and "SRVDB_BUILD_DIR" not in os.environ:
        pytest.skip("no build folder with kernel objects")
    return found


def test_kernel_objects_are_found(objects):
    assert "baseline" in objects
    built = {p.stem.removeprefix("kernels_") for p in (CPP / "srvdb/simd").glob("kernels_*.cpp")}
    foreign = {"neon"} if "avx2" in objects else built - {"baseline", "neon"}
    assert set(objects) == built - foreign


def test_weak_symbols_of_wide_kernels_carry_their_instruction_set(objects):
    wrong = []
    for name, files in objects.items():
        if name in {"baseline", "neon"}:
            continue  # compiled for every processor of the architecture
        wrong += [f"{name}: {symbol}" for symbol in weak_symbols(files) if name not in symbol]
    assert not wrong, "\n".join(sorted(wrong))


def test_no_weak_symbol_is_in_two_kernel_objects(objects):
    owners: dict[str, set[str]] = {}
    for name, files in objects.items():
        for symbol in weak_symbols(files):
            owners.setdefault(symbol, set()).add(name)
    shared = {symbol: sorted(sets) for symbol, sets in owners.items() if len(sets) > 1}
    assert not shared
