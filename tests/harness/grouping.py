"""Jobs that are sure to share a transaction of the index."""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from strongroom.store.index import Index
from strongroom.store.transaction import Transaction


def together(index: Index, jobs: list[Callable[[], Any]]) -> list[Any]:
    """Run jobs in one transaction: all queue up while another job holds the writer."""
    holding, release = threading.Event(), threading.Event()

    def hold(_: Transaction) -> None:
        holding.set()
        assert release.wait(30)

    def run(job: Callable[[], Any]) -> Any:
        try:
            return job()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(jobs) + 1) as pool:
        holder = pool.submit(index.database.write, hold)
        assert holding.wait(30)
        waiting = [pool.submit(run, job) for job in jobs]
        wait_until_queued(index, len(jobs))
        release.set()
        holder.result(30)
        return [each.result(30) for each in waiting]


def wait_until_queued(index: Index, count: int) -> None:
    pause = threading.Event()
    while len(index.database._commits._queue) < count:
        pause.wait(0.001)
