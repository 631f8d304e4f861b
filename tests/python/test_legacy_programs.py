"""Programs as users of srvdb 0.1, 0.2 and 0.3 wrote them run unchanged."""

import json
import random

import numpy as np
import pytest

import srvdb
from helpers import run_child


def test_program_of_0_1(tmp_path):
    db = srvdb.SvDBPython(str(tmp_path / "vectors"))
    ids = [f"doc_{i}" for i in range(100)]
    embeddings = [[random.random() - 0.5 for _ in range(1536)] for _ in range(100)]
    metadatas = [f'{{"id": {i}}}' for i in range(100)]
    assert db.add(ids=ids, embeddings=embeddings, metadatas=metadatas) == 100
    assert db.persist() is None
    results = db.search(query=embeddings[3], k=10)
    assert isinstance(results, list)
    assert len(results) == 10
    for id, score in results:
        assert f"{id}: {score:.4f}"
    assert results[0][0] == "doc_3"
    assert results[0][1] == pytest.approx(1.0)
    assert json.loads(db.get("doc_3"))["id"] == 3
    assert db.get("doc_1000") is None
    assert db.count() == 100
    assert sorted(db.get_all_ids()) == sorted(ids)
    assert db.delete(["doc_0", "doc_1", "never"]) == 2
    assert db.count() == 98


def test_program_of_0_2(tmp_path):
    path = str(tmp_path / "db")
    db = srvdb.SrvDBPython(path, dimension=384, mode="flat")
    vectors = np.random.default_rng(1).normal(size=(300, 384)).astype(np.float32)
    for i in range(0, 300, 100):
        part = slice(i, i + 100)
        ids = [f"doc_{j}" for j in range(i, i + 100)]
        db.add(ids, vectors[part].tolist(), [f'{{"id":{j}}}' for j in range(i, i + 100)])
    db.persist()
    found = {r[0] for r in db.search(vectors[0].tolist(), 10)}
    assert "doc_0" in found
    lists = db.search_batch(vectors[:5].tolist(), 3)
    assert [hits[0][0] for hits in lists] == [f"doc_{i}" for i in range(5)]
    assert isinstance(db.info(), str)
    assert "dimension=384" in db.info()
    assert "vectors=300" in db.info()
    db.set_mode("hnsw")
    db.set_ef_search(64)
    assert db.search(query=vectors[7].tolist(), k=1)[0][0] == "doc_7"
    del db  # no close(): the next opening finds everything
    again = srvdb.SrvDBPython(path, dimension=384)
    assert again.count() == 300
    assert again.stats()["mode"] == "hnsw"


def test_constructors_of_0_2(tmp_path):
    vectors = np.random.default_rng(2).normal(size=(200, 128)).tolist()
    db = srvdb.SrvDBPython.new_hnsw(
        str(tmp_path / "hnsw"), 128, m=16, ef_construction=200, ef_search=50
    )
    assert db.add([str(i) for i in range(200)], vectors, ["{}"] * 200) == 200
    assert db.search(vectors[5], 1)[0][0] == "5"
    assert db.stats()["mode"] == "hnsw"
    assert db.stats()["ef"] == 50
    sq8 = srvdb.SrvDBPython.new_scalar_quantized(str(tmp_path / "sq8"), 128, vectors[:100])
    sq8.add(["sq_doc1"], [vectors[0]], ['{"info": "minified"}'])
    assert sq8.count() == 1
    assert sq8.search(vectors[0], 5)[0][1] == pytest.approx(1.0)
    with pytest.raises(ValueError, match="empty"):
        srvdb.SrvDBPython.new_scalar_quantized(str(tmp_path / "x"), 128, [])
    with pytest.raises(ValueError, match="64"):
        srvdb.SrvDBPython.new_scalar_quantized(str(tmp_path / "y"), 128, [[0.5] * 64])
    assert srvdb.Database(tmp_path / "z", 128, "SCALAR").stats()["mode"] == "sq8"


def test_program_of_0_3(tmp_path):
    db = srvdb.Database(str(tmp_path / "my-db"), dimension=128)
    intro, pricing = np.eye(2, 128).tolist()
    db.add(
        ids=["intro", "pricing"],
        embeddings=[intro, pricing],
        metadatas=[json.dumps({"page": "intro"}), json.dumps({"page": "pricing"})],
    )
    db.persist()
    for doc_id, score in db.search(intro, k=5):
        print(doc_id, round(score, 3), db.get(doc_id))
    assert db.upsert(ids=["pricing"], embeddings=[intro], metadatas=['{"page": 2, "v": 2}']) == 1
    assert json.loads(db.get("pricing"))["v"] == 2
    assert db.delete(["intro"]) == 1
    db.persist()
    assert [hit[0] for hit in db.search(intro, k=5)] == ["pricing"]


def test_errors_that_programs_catch_are_value_errors(tmp_path):
    db = srvdb.SrvDBPython(str(tmp_path / "db"), dimension=128)
    vector = [0.1] * 128
    db.add(["a"], [vector], ["{}"])
    with pytest.raises(ValueError, match="a"):
        db.add(["a"], [vector], ["{}"])
    with pytest.raises(ValueError, match=r"(?s)128.*64|64.*128"):
        db.add(["b"], [[0.1] * 64], ["{}"])
    with pytest.raises(ValueError, match=r"(?s)128.*64|64.*128"):
        db.search([0.1] * 64, 3)
    with pytest.raises(ValueError, match="JSON"):
        db.add(["b"], [vector], ["{not json"])
    with pytest.raises(ValueError, match="same length"):
        db.add(["b", "c"], [vector], ["{}"])
    with pytest.raises(ValueError, match="k"):
        db.search(vector, 0)
    assert db.count() == 1


def test_scores_are_plain_cosine(tmp_path):
    db = srvdb.SrvDBPython(str(tmp_path / "db"), dimension=128)
    one = np.zeros(128)
    one[0] = 2.0
    db.add(["same", "opposite"], [one.tolist(), (-one).tolist()], ["{}", "{}"])
    assert db.search(one.tolist(), 2) == [("same", 1.0), ("opposite", -1.0)]


def test_second_process_is_an_os_error_as_in_0_3(tmp_path):
    path = str(tmp_path / "db")
    db = srvdb.Database(path, dimension=128)
    code = (
        "import sys, srvdb\n"
        "try:\n    srvdb.Database(sys.argv[1], dimension=128)\n"
        "except BlockingIOError as error:\n    print('busy', isinstance(error, OSError))\n"
    )
    assert run_child(code, path).stdout == "busy True\n"
    assert db.count() == 0


def test_all_three_names_are_one_class():
    assert srvdb.SvDBPython is srvdb.SrvDBPython is srvdb.Database
