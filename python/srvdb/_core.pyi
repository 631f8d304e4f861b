from collections.abc import Callable, Sequence
from typing import Any, Literal, SupportsFloat, TypeAlias, final

import numpy as np
import numpy.typing as npt

_Floats: TypeAlias = npt.NDArray[np.float32]
_Metadata: TypeAlias = dict[str, Any] | str | None
_Ids: TypeAlias = list[str] | tuple[str, ...]
_Metadatas: TypeAlias = list[_Metadata] | tuple[_Metadata, ...] | None
_RecordTuple: TypeAlias = tuple[str, str | None, _Floats | None, int, bool]
_Moments: TypeAlias = npt.NDArray[np.int64] | None
_SnapshotTuple: TypeAlias = tuple[str, int, int, int, int, bool]

_ProblemTuple: TypeAlias = tuple[str, int, str, Literal["damage", "derived", "unfinished"]]
_ItemTuple: TypeAlias = tuple[Literal["lost", "doubtful"], str | None, int | None, str]

__version__: str

def install(errors: dict[str, type[Exception]], report: Callable[[bool, str], object]) -> None: ...
def metadata_problem(text: str) -> str | None: ...
def dump_metadata(metadata: dict[str, Any], item: int = 0) -> str: ...
def now_us() -> int: ...
def verify(
    path: bytes, deep: bool, progress: Callable[[int, int], object] | None
) -> tuple[list[_ProblemTuple], int, int, int, int]: ...
def repair(
    path: bytes, target: bytes, metric: str | None, progress: Callable[[int, int], object] | None
) -> tuple[int, int, int, list[_ItemTuple], int, list[_ProblemTuple]]: ...
def _set_clock_for_tests(time_us: int | None) -> None: ...
def _filter_matches_for_tests(where: str, ids: list[str], metadatas: list[str]) -> list[bool]: ...

@final
class Hit(tuple[str, float]):
    def __new__(
        cls,
        id: str,
        score: SupportsFloat,
        distance: float | None = None,
        metadata: dict[str, Any] | None = None,
        embedding: _Floats | None = None,
    ) -> Hit: ...
    @property
    def id(self) -> str: ...
    @property
    def score(self) -> float: ...
    @property
    def distance(self) -> float | None: ...
    @property
    def metadata(self) -> dict[str, Any] | None: ...
    @property
    def embedding(self) -> _Floats: ...

def hit_ids(hits: list[Hit], /) -> list[str]: ...

class Counter:
    rows: int
    def __init__(self) -> None: ...

class StopFlag:
    def __init__(self) -> None: ...
    def stop(self) -> None: ...

class Database:
    @staticmethod
    def open(
        path: bytes,
        *,
        dimension: int | None,
        metric: str | None,
        mode: str | None,
        m: int | None,
        ef_construction: int | None,
        ef: int,
        durability: str,
        read_only: bool,
        create: bool,
        buffer_bytes: int,
        flush_rows: int,
        background: bool,
        auto_compact_share: float = 0.5,
        auto_compact_bytes: int = ...,
        snapshot_every_ms: int = 0,
        snapshot_keep: int = 24,
        recall: float = 0.0,
        memory_limit: int = 0,
        prefault: bool = False,
        lock_memory: bool = False,
        filter_cache_bytes: int = ...,
        index_all_fields: bool = False,
        indexed_fields: list[str] | None = None,
    ) -> Database: ...
    def write(
        self,
        ids: _Ids,
        rows: _Floats,
        metadatas: _Metadatas,
        replace: bool,
        expires_at: _Moments = None,
    ) -> int: ...
    def write_one(
        self, ids: object, rows: object, metadatas: object, replace: bool, /
    ) -> int | None: ...
    def write_window(
        self,
        ids: _Ids,
        rows: _Floats,
        metadatas: _Metadatas,
        replace: bool,
        start: int,
        max_rows: int,
        max_bytes: int,
        first_item: int,
        counter: Counter,
        expires_at: _Moments = None,
    ) -> int: ...
    def chunk_rows(self, dim: int) -> int: ...
    def remove(self, ids: _Ids) -> int: ...
    def update(
        self,
        ids: _Ids,
        rows: _Floats,
        at: npt.NDArray[np.int64],
        metadatas: _Metadatas,
        expires_at: _Moments,
    ) -> int: ...
    def soft_delete(self, ids: _Ids) -> int: ...
    def restore(self, ids: _Ids) -> int: ...
    def deleted_ids(self) -> list[str]: ...
    def change_log(
        self, limit: int, since: int | None, operation: str | None
    ) -> list[tuple[int, int, str, tuple[str, ...], str]]: ...
    def change_log_at(self, time_us: int) -> int: ...
    def trim_change_log(self, before: int) -> int: ...
    def compact(self, progress: Callable[[int, int], object] | None) -> int: ...
    def search(
        self,
        query: _Floats,
        k: int,
        ef: int,
        exact: bool,
        metadata: bool,
        embedding: bool,
        include_deleted: bool = False,
        recall: float = 0.0,
        where: str = "",
    ) -> list[Hit]: ...
    def search_groups(
        self,
        queries: _Floats,
        k: int,
        ef: int,
        exact: bool,
        metadata: bool,
        embedding: bool,
        threads: int,
        stop: StopFlag | None,
        include_deleted: bool,
        recall: float,
        where: str,
        wheres: list[str],
        group_by: str,
        group_size: int,
        among: Sequence[Sequence[str]],
    ) -> list[tuple[list[Hit], list[str]]]: ...
    def search_batch(
        self,
        queries: _Floats,
        k: int,
        ef: int,
        exact: bool,
        metadata: bool,
        embedding: bool,
        threads: int,
        stop: StopFlag | None = None,
        include_deleted: bool = False,
        recall: float = 0.0,
        where: str = "",
        wheres: list[str] = [],
    ) -> list[list[Hit]]: ...
    def records(
        self,
        ids: _Ids,
        with_metadata: bool,
        with_embedding: bool,
        include_deleted: bool = False,
        where: str = "",
    ) -> list[_RecordTuple | None]: ...
    def scroll(
        self,
        after: str,
        limit: int,
        with_metadata: bool,
        with_embedding: bool,
        where: str = "",
        include_deleted: bool = False,
    ) -> list[_RecordTuple]: ...
    def scroll_ids(self, after: str, limit: int) -> list[str]: ...
    def metadata(self, id: str) -> str | None: ...
    def contains(self, id: str) -> bool: ...
    def metric(self) -> str: ...
    def count(self, where: str = "") -> int: ...
    def facet(self, field: str, where: str, limit: int) -> list[tuple[str, int]]: ...
    def explain(self, where: str) -> tuple[list[tuple[str, bool]], int, int, int, bool, bool]: ...
    def remove_where(self, where: str) -> int: ...
    def soft_delete_where(self, where: str) -> int: ...
    def update_where(self, where: str, metadatas: list[_Metadata], expires_at: int = -1) -> int: ...
    def persist(self) -> None: ...
    def close(self) -> None: ...
    def optimize(self, threads: int, progress: Callable[[int, int], object] | None) -> None: ...
    def stats(self) -> dict[str, Any]: ...
    def set_mode(self, mode: str) -> None: ...
    def create_snapshot(self, name: str) -> _SnapshotTuple: ...
    def list_snapshots(self) -> list[_SnapshotTuple]: ...
    def drop_snapshot(self, name: str) -> None: ...
    def restore_snapshot(self, name: str, keep_current: bool) -> None: ...
    def snapshot_path(self, name: str) -> str: ...
    def backup(self, path: bytes, compressed: bool) -> None: ...
    def refresh(self) -> int: ...
    @staticmethod
    def restore_backup(file: bytes, path: bytes) -> None: ...
    def set_ef(self, ef: int) -> None: ...
    def set_recall(self, recall: float) -> None: ...
