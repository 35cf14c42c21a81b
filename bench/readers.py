"""Readers in processes of their own, and how fast they could be: the same bytes from memory, over the same TLS."""

from __future__ import annotations

import multiprocessing
import os
import socket
import ssl
import time
from multiprocessing.connection import Connection as Pipe
from multiprocessing.synchronize import Barrier

import servers
import webclient
import wire

FORK = multiprocessing.get_context("fork")
ENTROPY_BYTES = 1 << 20

Row = dict[str, object]


def _read_one(endpoint: webclient.Endpoint, path: str, accept: str, barrier: Barrier, results: Pipe) -> None:
    try:
        with webclient.Connection(endpoint) as connection:
            request = connection.encode("GET", path, {"Accept": accept})
            barrier.wait()
            started_s, cpu_s = time.perf_counter(), time.process_time()
            length = connection.exchange(request, keep=False).length
            results.send((started_s, time.perf_counter(), time.process_time() - cpu_s, length))
    except (wire.PeerError, OSError) as error:
        barrier.abort()
        results.send(f"{type(error).__name__}: {error}")


def _read(endpoint: webclient.Endpoint, path: str, accept: str, clients: int) -> Row:
    barrier, pipes, processes = FORK.Barrier(clients, timeout=120), [], []
    for _ in range(clients):
        receiving, sending = FORK.Pipe(duplex=False)
        process = FORK.Process(target=_read_one, args=(endpoint, path, accept, barrier, sending), daemon=True)
        process.start()
        sending.close()
        pipes.append(receiving)
        processes.append(process)
    done = [pipe.recv() for pipe in pipes]
    for process in processes:
        process.join()
    failed = sorted((one for one in done if isinstance(one, str)), key=lambda text: text.startswith("BrokenBarrier"))
    if failed:
        raise wire.PeerError(failed[0])
    elapsed_s = max(one[1] for one in done) - min(one[0] for one in done)
    return {
        "clients": clients,
        "bytes": done[0][3],
        "seconds": elapsed_s,
        "mb_per_s": round(sum(one[3] for one in done) / elapsed_s / 1e6, 2),
        "client_cores": round(sum(one[2] for one in done) / elapsed_s, 3),
    }


def read(server: servers.Server, path: str, accept: str, clients: int) -> Row:
    """Return how fast ``clients`` readers at once got the whole of ``path``; PeerError if one did not."""
    assert server.web is not None
    cpu_s = server.cpu_s()
    row = _read(server.web, path, accept, clients)
    return row | {"server_cores": round((server.cpu_s() - cpu_s) / float(str(row["seconds"])), 3)}


def ceiling(length: int, clients: int) -> Row:
    """Return what the same readers reach when ``length`` bytes come out of memory: the client's own limit here."""
    keys = servers.certificates(servers.OUT_DIR / "certificates")
    listener = socket.create_server(("127.0.0.1", 0), backlog=clients)
    sources = [FORK.Process(target=_source, args=(listener, keys, length), daemon=True) for _ in range(clients)]
    for source in sources:
        source.start()
    try:
        endpoint = webclient.Endpoint("127.0.0.1", listener.getsockname()[1], "", "", keys / "ca.pem")
        return _read(endpoint, "/", "*/*", clients)
    finally:
        listener.close()
        for source in sources:
            source.terminate()
            source.join()


def _source(listener: socket.socket, keys: os.PathLike[str], length: int) -> None:
    """Answer one request with ``length`` bytes."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(os.path.join(keys, "cert.pem"), os.path.join(keys, "key.pem"))
    noise = memoryview(os.urandom(ENTROPY_BYTES))
    plain, _ = listener.accept()
    with context.wrap_socket(plain, server_side=True) as connection:
        connection.recv(65536)
        connection.sendall(f"HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n".encode())
        while length:
            piece = noise[: min(length, ENTROPY_BYTES)]
            connection.sendall(piece)
            length -= len(piece)
        connection.recv(1)
