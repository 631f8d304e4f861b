"""What a newcomer runs first works: the demo and the notebook."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def run_demo(*arguments):
    return subprocess.run(
        [sys.executable, str(ROOT / "scripts" / "demo.py"), *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=300,
    )


def test_the_demo_answers_the_same_after_opening_again(tmp_path):
    pytest.importorskip("sklearn")
    path = tmp_path / "kept"
    done = run_demo("--path", path, "--keep")
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the same answers, the same scores" in done.stdout
    assert "subprocess." in done.stdout
    passages = re.search(r"passages +([\d,]+)", done.stdout)
    assert int(passages[1].replace(",", "")) > 2000
    recall = re.search(r"recall@10 against exact search +([\d.]+)", done.stdout)
    assert float(recall[1]) >= 0.95
    assert any(path.iterdir())


def test_the_demo_leaves_an_existing_folder_alone(tmp_path):
    (tmp_path / "mine").write_text("kept")
    done = run_demo("--path", tmp_path)
    assert done.returncode != 0
    assert "exists" in done.stderr
    assert (tmp_path / "mine").read_text() == "kept"


def test_the_quickstart_notebook_runs_and_draws_its_plot(tmp_path):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    notebook = nbformat.read(ROOT / "notebooks" / "quickstart.ipynb", as_version=4)
    client = nbclient.NotebookClient(
        notebook,
        timeout=120,
        kernel_name="python3",
        resources={"metadata": {"path": str(tmp_path)}},
    )
    client.execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", [])]
    assert any("image/png" in output.get("data", {}) for output in outputs)


def test_the_quickstart_notebook_holds_no_paths_of_a_machine():
    text = (ROOT / "notebooks" / "quickstart.ipynb").read_text()
    assert not re.search(r"/(home|root|tmp|Users|work)/", text)
