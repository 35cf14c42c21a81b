"""nginx as it stands in front of archives, well and badly configured: targets of the probe."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from harness.postgres import free_port
from harness.probe_certificates import Pair
from harness.probe_processes import Program, Running, requires, running

WEAK_TLS = "ssl_protocols TLSv1 TLSv1.1 TLSv1.2; ssl_ciphers 'ALL:@SECLEVEL=0';"
OLD_SUITES = "ssl_protocols TLSv1.2; ssl_ciphers 'AES128-SHA:AES256-SHA:DES-CBC3-SHA:AES128-GCM-SHA256:@SECLEVEL=0';"
STRONG_TLS = "ssl_protocols TLSv1.2 TLSv1.3; ssl_ciphers 'ECDHE+AESGCM:ECDHE+CHACHA20';"
HSTS = "add_header Strict-Transport-Security 'max-age=31536000; includeSubDomains' always;"
SAFE_HEADERS = (
    HSTS + "add_header Content-Security-Policy \"default-src 'self'; frame-ancestors 'none'\" always;"
    "add_header X-Content-Type-Options nosniff always;"
)
REFLECTING_CORS = (
    "add_header Access-Control-Allow-Origin $http_origin always;"
    "add_header Access-Control-Allow-Credentials true always;"
)
FIXED_CORS = "add_header Access-Control-Allow-Origin https://viewer.example always;"

_MAIN = """\
daemon off; master_process off; worker_processes 1; pid {folder}/nginx.pid; error_log {folder}/error.log;
events {{ worker_connections 256; }}
http {{
  access_log {folder}/access.log;
  client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi; scgi_temp_path {folder}/scgi;
  types {{ text/html html; application/dicom dcm; application/json json; }}
  {servers}
}}
"""


@dataclass(frozen=True)
class Server:
    """One server block. With ``pair`` it speaks TLS; ``body`` is what is between its braces."""

    body: str
    pair: Pair | None = None
    port: int = 0
    address: str = "127.0.0.1"

    def text(self) -> str:
        """The block of nginx's configuration."""
        tls = ""
        if self.pair is not None:
            tls = f" ssl; ssl_certificate {self.pair.certificate}; ssl_certificate_key {self.pair.key}"
        return f"server {{ listen {self.address}:{self.port}{tls}; {self.body} }}"


def proxy_to(port: int, more: str = "") -> str:
    """Hand everything to a server on loopback."""
    return f"location / {{ proxy_pass http://127.0.0.1:{port}; proxy_set_header Host $host; {more} }}"


def files_of(folder: Path, *, listing: bool) -> str:
    """Serve a folder, with or without a listing of it."""
    return f"location / {{ root {folder}; autoindex {'on' if listing else 'off'}; }}"


def redirect_to(url: str) -> str:
    """Send everybody elsewhere."""
    return f"return 301 {url};"


def password_file(folder: Path, user: str, password: str) -> Path:
    """A file for ``auth_basic_user_file``."""
    path = folder / "passwords"
    path.write_text(f"{user}:{{PLAIN}}{password}\n")
    return path


def behind_password(passwords: Path, body: str) -> str:
    """The same with HTTP Basic authentication in front."""
    return f'auth_basic "images"; auth_basic_user_file {passwords}; {body}'


@dataclass(frozen=True)
class NginxTarget:
    """A running nginx; its ports in the order of the server blocks."""

    ports: Sequence[int]
    server: Running


@contextmanager
def nginx(folder: Path, *servers: Server) -> Iterator[NginxTarget]:
    """One nginx with these server blocks, all at one address; a port 0 becomes any that is free."""
    requires("/usr/sbin/nginx")
    folder.mkdir(parents=True, exist_ok=True)
    placed = [Server(each.body, each.pair, each.port or free_port(), each.address) for each in servers]
    config = folder / "nginx.conf"
    config.write_text(_MAIN.format(folder=folder, servers="\n  ".join(each.text() for each in placed)))
    ports = [each.port for each in placed]
    command = ("/usr/sbin/nginx", "-p", folder, "-c", config, "-e", folder / "error.log")
    with running(Program(command, ports, folder, servers[0].address)) as server:
        yield NginxTarget(ports, server)
