"""One worker process of the HTTPS service: an archive of its own, open on the same home, behind one event loop.

``python -m strongroom.serving.webworker`` is started by ``webservice`` and by nobody else. Its standard input is one
line that says what to do, and stays open as long as the parent lives: at its end the worker finishes what is under way
and goes, however the parent ended. Uploads need processes that end with a parent that is killed: they fail then.
"""

from __future__ import annotations

import asyncio
import logging
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, ParamSpec, TypeVar

import msgspec
import uvloop

from strongroom.admin.console import Console
from strongroom.admin.deciding import Decisions
from strongroom.app import SERVER_SECRET, Archive, own_addresses
from strongroom.archive.ingest import Memory
from strongroom.config import Home
from strongroom.dicom.dictionary import STORAGE_SOP_CLASSES
from strongroom.door import new_memory
from strongroom.errors import Busy, StrongroomError
from strongroom.metrics.tally import Tally
from strongroom.net.tls import web_context
from strongroom.serving.announcing import Announcer
from strongroom.serving.board import Board
from strongroom.serving.child import follow_parent, read_orders
from strongroom.serving.dicomparts import query_limits
from strongroom.serving.farstore import FarStore
from strongroom.serving.logs import log_to_stderr, log_uncaught
from strongroom.serving.oversight import Oversight
from strongroom.serving.pulse import PULSE_INTERVAL_S, Pulse
from strongroom.serving.reporting import Reporter, counted
from strongroom.serving.webcallers import Callers
from strongroom.serving.weborders import LAST_MOMENT_S, TAKER, Orders
from strongroom.store.registry import REGISTRY_VERSION
from strongroom.viewer.installed import InstalledViewer
from strongroom.viewer.pin import read_pin
from strongroom.web.app import WebApp
from strongroom.web.call import Services
from strongroom.web.frametables import FrameTables
from strongroom.web.operations import OPERATIONS
from strongroom.web.room import Room
from strongroom.web.server import WebServer

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

P = ParamSpec("P")
T = TypeVar("T")
log = logging.getLogger(__name__)

REFRESH_INTERVAL_S = 1.0
"""How long what an operator has changed may go unnoticed."""

MAX_SIGN_INS = 32
"""Steps of signing in that one worker has under way or waiting; then 503."""

CROWDED = "too many people sign in at this moment"


class Tls:
    """The TLS context for new connections: of the certificate that is in use, trusting the peers of now."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self._seen = ("", b"")
        self._context: ssl.SSLContext | None = None
        self.refresh()

    def context(self) -> ssl.SSLContext:
        """The present one."""
        assert self._context is not None
        return self._context

    def refresh(self) -> None:
        """Make another one if the archive's certificate or the peers have changed."""
        archive = self._archive
        registry = archive.index.registry
        with archive.index.database.reading() as cursor:
            version = registry.get_meta(cursor, REGISTRY_VERSION)
            seen = (version, sha256(archive.secrets.get(SERVER_SECRET)).digest())
            if seen == self._seen:
                return
            peers = registry.peers(cursor).values()
        material = archive.tls()
        trusted = [material.authority.certificate_pem.decode()]
        trusted += sorted({peer.certificate for peer in peers if not peer.revoked_us} - {""})
        self._context = web_context(material.identity, trusted, archive.config.dicom.tls_profile)
        self._seen = seen


class _Queue:
    """Threads of their own for work that takes its time, and as many who wait for it as may. Belongs to the loop."""

    def __init__(self, name: str, threads: int, most: int, crowded: str) -> None:
        """Beyond ``most`` under way or waiting, ``crowded`` is said."""
        self.threads = ThreadPoolExecutor(threads, name)
        self.taken = 0
        self._most, self._crowded = most, crowded

    async def run(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """What ``work`` returns or raises. Raises Busy."""
        if self.taken >= self._most:
            raise Busy(self._crowded)
        return await self.go_on(work, *args, **kwargs)

    async def go_on(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """The same for what somebody has begun by `run`, for whom nobody is too busy."""
        self.taken += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.threads, partial(work, *args, **kwargs))
        finally:
            self.taken -= 1


class Worker:
    """One worker on an open archive."""

    def __init__(
        self, archive: Archive, callers: Callers, reporter: Reporter, pulse: Pulse, far: FarStore | None = None
    ) -> None:
        """Objects are taken in by others through ``far``, or else here."""
        config = archive.config
        self._far = far
        self._archive, self._callers, self._reporter, self._pulse = archive, callers, reporter, pulse
        self._is_current = False
        self._pool = ThreadPoolExecutor(config.https.threads, "https")
        self._refreshing = ThreadPoolExecutor(1, "https-refresh")  # which is late when it hangs, not when others work
        self._storing = ThreadPoolExecutor(2 * config.https.threads, "https-store")  # most of them wait for syncs
        self._pixels = archive.pixels
        # One for whoever waits, too: else an answer under way would find no thread to go on with, and keep its worker.
        jobs = config.limits.max_pixel_workers + config.limits.max_pixel_jobs_waiting
        self._drawing = _Queue("https-pixels", jobs, jobs, "too many images wait to be decoded")
        self._signing_in = _Queue("https-sign-in", 2, MAX_SIGN_INS, CROWDED)  # an Argon2id takes its time
        self._asking = _Queue("https-provider", 4, MAX_SIGN_INS, CROWDED)  # each waits for answers of a provider
        self._app = WebApp(OPERATIONS, self._services())
        self._tls = Tls(archive)
        names = frozenset(name.lower() for name in own_addresses(config))
        self._server = WebServer(self._app, config.limits, names, self._tls.context, config.https.public_port)

    def _services(self) -> Services:
        """What handlers use of the archive and of this process."""
        archive, callers, config = self._archive, self._callers, self._archive.config
        return Services(
            reader=archive.reader,
            new_ingest=self._far.new_ingest if self._far else archive.new_ingest,
            new_memory=Memory if self._far else new_memory,
            authenticator=callers.authenticator,
            run_blocking=self._run_blocking,
            limits=config.limits,
            query_limits=query_limits(config),
            aet=config.archive.aet,
            run_storing=self._run_storing,
            run_pixels=self._drawing.run,
            go_on_pixels=self._drawing.go_on,
            storage_classes=STORAGE_SOP_CLASSES | set(config.dicom.private_storage_classes),
            decisions=Decisions(archive),
            outliner=archive.outliner,
            metadata=archive.metadata,
            frames=FrameTables(config.limits.max_frame_index_bytes, config.limits.max_pixel_fragments),
            room=Room(config.limits.max_held_bytes_of_all),
            pixels=self._pixels,
            sign_in=callers.sign_in,
            passkeys=callers.passkeys,
            own_account=callers.own_account,
            seal=callers.seal,
            oversight=Oversight(archive),
            sharing=callers.sharing,
            break_glass=callers.break_glass,
            run_sign_in=self._signing_in.run,
            proof_max_age_us=int(config.sessions.proof_max_age_s * 1e6),
            administration=Console(archive),
            providers=callers.providers,
            run_provider=self._asking.run,
            index_is_remote=not archive.backend.is_sqlite,
            is_ready=self._is_ready,
            count_request=self._count_request,
            metrics=self._reporter.exposition,
            viewer=InstalledViewer(archive.home.viewer_folder(config.https.viewer_dir), read_pin()),
        )

    def _run_blocking(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        # No coroutine: that would only begin when the event loop is free again, and encrypt first what is ready.
        return asyncio.get_running_loop().run_in_executor(self._pool, partial(work, *args, **kwargs))

    def _run_storing(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._storing, partial(work, *args, **kwargs))

    async def _run_refreshing(self, work: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """On the thread of its own; that it has come by is said, however it went."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self._refreshing, partial(work, *args, **kwargs))
        finally:
            self._pulse.came_by()

    def _is_ready(self) -> bool:
        return self._is_current and not self._server.is_draining

    def _count_request(self, operation: str, status: int, seconds: float) -> None:
        self._reporter.tally.add("https_requests_total", operation, str(status))
        self._reporter.tally.add("https_request_seconds_total", operation, by=seconds)

    async def serve(self, listener: socket.socket, stop: asyncio.Event) -> None:
        """Answer until ``stop``, then finish what is under way."""
        refreshing, beating = asyncio.create_task(self._refresh()), asyncio.create_task(self._beat())
        serving = asyncio.create_task(self._server.serve(listener, stop, self._archive.config.https.drain_timeout_s))
        self._pixels.prestart()
        self._report(is_current=True)
        self._pulse.ready()
        await serving
        refreshing.cancel()
        beating.cancel()
        queues = (self._drawing, self._signing_in, self._asking)
        for pool in (self._pool, self._storing, self._refreshing, *(each.threads for each in queues)):
            pool.shutdown(wait=True, cancel_futures=True)

    def _report(self, *, is_current: bool) -> None:
        """Say how this process is; it can do its work if it can read the index, and `serve` can do its own."""
        self._is_current = is_current and self._reporter.is_served()
        tally = self._reporter.tally
        tally.set("https_connections", to=len(self._server.connections))
        tally.set("https_pixel_jobs", to=self._drawing.taken)
        self._reporter.report(is_ready=self._is_ready())

    async def _refresh(self) -> None:
        while True:
            await asyncio.sleep(REFRESH_INTERVAL_S)
            is_current = True
            archive = self._archive
            for work in (self._tls.refresh, archive.forget_deleted, archive.index.catch_up, self._callers.keep_used):
                try:
                    await self._run_refreshing(work)
                except StrongroomError as error:
                    log.error("what has changed could not be read or kept: %s", error)
                    is_current = False
                except Exception:
                    log.exception("what has changed could not be read or kept")
                    is_current = False
            self._report(is_current=is_current)
            try:
                await self._app.end_revoked(self._run_refreshing)
            except Exception:
                log.exception("answers under way could not be held against what has changed")

    async def _beat(self) -> None:
        while True:
            self._pulse.beat()
            await asyncio.sleep(PULSE_INTERVAL_S)


def serve(home: Home, orders: Orders, stopped: threading.Event) -> None:
    """Serve until ``stopped``. Raises ConfigError, StorageUnavailable if the archive cannot be opened."""
    archive = Archive(home, orders.log, orders.config)
    log_to_stderr(archive.config.log.format)
    board = Board(orders.board_fd, orders.places) if orders.places else Board.new(1)
    reporter = Reporter(board, orders.place, orders.log, Tally())
    archive.index.announce = counted(reporter.tally, Announcer(time.monotonic))
    pulse = Pulse(orders.ready_fd)
    try:
        callers = Callers(archive)
        far = _far_store(archive, orders.control_fd) if orders.control_fd >= 0 else None
        worker = Worker(archive, callers, reporter, pulse, far)
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(_until(worker, orders, stopped))
        callers.close()
        if far is not None:
            far.close()
    finally:
        archive.close()
        board.close()
        pulse.close()


def _far_store(archive: Archive, control_fd: int) -> FarStore:
    """Have others take objects in: each socket for it is asked for over ``control_fd``."""
    control = socket.socket(fileno=control_fd)

    def connect() -> socket.socket:
        mine, theirs = socket.socketpair()
        with theirs:
            try:
                socket.send_fds(control, [TAKER], [theirs.fileno()])
            except OSError:
                mine.close()
                raise
        return mine

    return FarStore(connect, archive.new_ingest, archive.index.record)


async def _until(worker: Worker, orders: Orders, stopped: threading.Event) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    listener = socket.socket(fileno=orders.listener_fd)
    listener.setblocking(False)

    def wait() -> None:
        stopped.wait()
        loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=wait, name="stop", daemon=True).start()

    await worker.serve(listener, stop)


def main() -> int:
    """Read the orders, serve, return the exit code."""
    log_to_stderr()
    log_uncaught()
    stopped = threading.Event()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group: the parent ends its workers itself
    signal.signal(signal.SIGTERM, lambda *_: stopped.set())
    orders = msgspec.json.decode(read_orders(), type=Orders)
    home = Home(Path(orders.home))
    try:
        follow_parent(stopped.set, orders.config.https.drain_timeout_s + LAST_MOMENT_S)
        serve(home, orders, stopped)
    except StrongroomError as error:
        log.error("an HTTPS worker ended: %s", error)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
