"""Every server that the probe is proved against at once, each at an address of its own, with its scope's target.

They are started once, and one run of the probe looks at them all; ``tests/interop/probe_verdicts.toml`` has what it
must say of each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from itertools import count
from pathlib import Path
from typing import Any

from harness import probe_hostile, probe_lures, probe_planted, probe_products
from harness.postgres import free_port
from harness.probe_certificates import Issuer, Pair, Subject
from harness.probe_dcmtk import (
    ARCHIVE_AET,
    KNOWN_PEER,
    STORE_AET,
    WORKLIST_AET,
    dcmqrscp,
    store_files,
    storescp,
    tls_options,
    wlmscpfs,
)
from harness.probe_dicom import Conduct, scp
from harness.probe_http import Page, Site, web
from harness.probe_listener import listening, listening_sockets
from harness.probe_neighbours import neighbours
from harness.probe_nginx import (
    REFLECTING_CORS,
    SAFE_HEADERS,
    STRONG_TLS,
    WEAK_TLS,
    Server,
    behind_password,
    files_of,
    nginx,
    password_file,
    proxy_to,
    redirect_to,
)
from harness.probe_orthanc import (
    AET as ORTHANC_AET,
)
from harness.probe_orthanc import (
    Place,
    default_credentials_settings,
    locked_settings,
    opened_settings,
    orthanc_with,
    shipped_orthanc,
)
from harness.probe_pynetdicom import ARCHIVE_AET as QRSCP_AET
from harness.probe_pynetdicom import qrscp, workflow_scp
from harness.probe_strongroom import PEER, strongroom
from harness.samples import sample

MODALITY = "MODALITY"
SAMPLES = ("CT_small.dcm", "MR_small.dcm")


@dataclass
class Estate:
    """A folder, an authority, and the servers that were started. ``targets`` are for ``probe_runs.Operator.scope``."""

    folder: Path
    stack: ExitStack
    targets: dict[str, Mapping[str, Any]] = field(default_factory=dict)
    _numbers: Iterator[int] = field(default_factory=lambda: count(1))

    def __post_init__(self) -> None:
        """Make certificates for servers and for the one client that they know."""
        self.issuer = Issuer(self.folder / "authority")
        self.client = self.issuer.issue("client", Subject(MODALITY, client=True, addresses=()))

    def address(self) -> str:
        """An address that no other server has."""
        return f"127.0.2.{next(self._numbers)}"

    def certificate(self, address: str, name: str = "", **more: Any) -> Pair:
        """A certificate for an address."""
        kind = {"rsa_bits": 2048, "until_days": 200, **more}
        return self.issuer.issue(name or address, Subject(address, (address,), **kind))

    def add(self, name: str, address: str, **keys: Any) -> None:
        """Note a server that runs."""
        self.targets[name] = {"name": name, "addresses": [address], **keys}

    def known_client(self) -> dict[str, str]:
        """The keys of a target that name the certificate that servers know."""
        return {"client_certificate": str(self.client.certificate), "client_key": str(self.client.key)}


def orthancs(estate: Estate) -> None:
    """As shipped, opened, locked, and with the password that everybody knows."""
    enter, samples = estate.stack.enter_context, [sample(name) for name in SAMPLES]

    def target(name: str, orthanc: Any, **keys: Any) -> None:
        ports = {"dicom_ports": [orthanc.dicom_port], "http_ports": [orthanc.http_port]}
        estate.add(name, estate.address(), **{**ports, **keys})

    for name, started in (
        ("orthanc-shipped", enter(shipped_orthanc(Place(estate.folder / "shipped")))),
        ("orthanc-open", enter(orthanc_with(Place(estate.folder / "opened"), opened_settings()))),
    ):
        store_files(started.dicom_port, ORTHANC_AET, samples)
        target(name, started)
    settings = default_credentials_settings()
    target("orthanc-default-password", enter(orthanc_with(Place(estate.folder / "default"), settings)))
    address = estate.address()
    pair = estate.certificate(address)
    known = {"DicomModalities": {"modality": [MODALITY, "127.0.0.1", 104]}}
    locked = enter(orthanc_with(Place(estate.folder / "locked"), {**locked_settings(pair), **known}))
    block = Server(STRONG_TLS + SAFE_HEADERS + proxy_to(locked.http_port), pair, address=address)
    front = enter(nginx(estate.folder / "locked-front", block))
    titles = {"called_title": ORTHANC_AET, "calling_title": MODALITY}
    ports = {"dicom_ports": [locked.dicom_port], "http_ports": [front.ports[0]]}
    estate.add("orthanc-locked", address, **ports, **titles, **estate.known_client())


def toolkits(estate: Estate) -> None:
    """DCMTK's and pynetdicom's servers."""
    enter, folder, samples = estate.stack.enter_context, estate.folder, [sample(name) for name in SAMPLES]

    def target(name: str, port: int, called: str, **keys: Any) -> None:
        estate.add(name, keys.pop("address", "") or estate.address(), dicom_ports=[port], called_title=called, **keys)

    opened = enter(dcmqrscp(folder / "dcmqrscp-open"))
    store_files(opened.port, ARCHIVE_AET, samples)
    target("dcmqrscp-open", opened.port, ARCHIVE_AET)
    # Not the same one: two who write at once into one index of dcmqrscp find each other's objects in it, or none.
    guessed = enter(dcmqrscp(folder / "dcmqrscp-guessed"))
    store_files(guessed.port, ARCHIVE_AET, samples)
    estate.add("dcmqrscp-guessed", estate.address(), dicom_ports=[guessed.port])
    closed = enter(dcmqrscp(folder / "dcmqrscp-closed", peers="known"))
    target("dcmqrscp-closed", closed.port, ARCHIVE_AET)
    target("dcmqrscp-known", closed.port, ARCHIVE_AET, calling_title=KNOWN_PEER)
    target("storescp", enter(storescp(folder / "storescp")).port, STORE_AET)
    for name, how in (("storescp-tls", "ignored"), ("storescp-mutual", "required")):
        address = estate.address()
        options = tls_options(estate.certificate(address), client_certificate=how)
        port = enter(storescp(folder / name, *options)).port
        target(name, port, STORE_AET, address=address, **estate.known_client())
    address = estate.address()
    options = tls_options(estate.certificate(address, "both"))
    ports = [enter(storescp(folder / "both-tls", *options)).port, enter(storescp(folder / "both-plain")).port]
    estate.add("storescp-both", address, dicom_ports=ports, **estate.known_client())
    target("wlmscpfs", enter(wlmscpfs(folder / "wlmscpfs")).port, WORKLIST_AET)
    address = estate.address()
    archive = enter(qrscp(folder / "qrscp", address=address))
    target("qrscp", archive.port, QRSCP_AET, address=address)
    address = estate.address()
    target("workflow", enter(workflow_scp(address=address)).port, "WORKFLOW", address=address)
    address = estate.address()
    target("workflow-known", enter(workflow_scp(known=KNOWN_PEER, address=address)).port, "WORKFLOW", address=address)


def fronts(estate: Estate) -> None:
    """nginx before a viewer and its images, in good and bad order."""
    enter, folder = estate.stack.enter_context, estate.folder
    viewer = enter(web(probe_products.OPEN["OHIF"])).port
    images = folder / "images"
    images.mkdir()
    for number in range(3):
        (images / f"image{number}.dcm").write_bytes(sample("CT_small.dcm").read_bytes())
    passwords = password_file(folder, "tests", "a-long-pass-phrase")

    def target(name: str, body: str, *, tls: bool = True, **wrong: Any) -> None:
        address = estate.address()
        pair = estate.certificate(address, name, **wrong) if tls else None
        port = enter(nginx(folder / name, Server(body, pair, address=address))).ports[0]
        estate.add(name, address, http_ports=[port])

    behind = behind_password(passwords, proxy_to(viewer))
    target("nginx-strong", STRONG_TLS + SAFE_HEADERS + behind)
    target("nginx-weak", WEAK_TLS + REFLECTING_CORS + proxy_to(viewer))
    target("nginx-expired", STRONG_TLS + SAFE_HEADERS + behind, from_days=-40, until_days=-10)
    target("nginx-self-signed", STRONG_TLS + SAFE_HEADERS + behind, self_signed=True)
    address = estate.address()
    pair = estate.certificate(address)
    secure = free_port()
    blocks = (
        Server(redirect_to(f"https://{address}:{secure}$request_uri"), address=address),
        Server(STRONG_TLS + SAFE_HEADERS + behind, pair, secure, address),
    )
    estate.add("nginx-redirect", address, http_ports=list(enter(nginx(folder / "nginx-redirect", *blocks)).ports))
    target("nginx-listing", files_of(images, listing=True), tls=False)
    target("nginx-no-listing", files_of(images, listing=False), tls=False)
    target("nginx-elsewhere", redirect_to("https://elsewhere.example/pacs/"), tls=False)


def web_products(estate: Estate) -> None:
    """Each web product, open and behind its login, over plain HTTP."""
    for kind, sites in (("open", probe_products.OPEN), ("locked", probe_products.LOCKED)):
        for product, site in sites.items():
            address = estate.address()
            mock = estate.stack.enter_context(web(site, sockets=listening_sockets([address])))
            estate.add(f"{product}-{kind}".lower(), address, http_ports=[mock.port])


def mocks(estate: Estate) -> None:
    """Archives whose data is nobody's, archives with one door open, and what stands beside an archive."""
    conducts: dict[str, Conduct] = {
        "real-looking": probe_lures.real_looking(),
        "teaching": probe_lures.tcia(),
        "phantoms": probe_lures.phantoms(),
        "identical": probe_lures.identical(),
        "yes-to-all": probe_lures.yes_to_all(),
        "write-only": Conduct(statuses={0x0020: 0x0122, 0x0010: 0x0122, 0x0021: 0x0122}),
        "called-title-guessed": Conduct(called=frozenset({"DCM4CHEE"})),
        "called-title-secret": Conduct(called=frozenset({"NOBODY-KNOWS"})),
        "social-security": probe_planted.planted_scp(),
        "user-required": Conduct(user_required=True),
    }
    for name, conduct in conducts.items():
        address = estate.address()
        mock = estate.stack.enter_context(scp(conduct, sockets=listening_sockets([address])))
        nobody = [free_port()] if name == "called-title-secret" else []
        estate.add(name, address, dicom_ports=[mock.port], neighbour_ports=nobody)
    address = estate.address()
    harm = listening(probe_hostile.DICOM["random_bytes"], listening_sockets([address]))
    estate.add("hostile", address, dicom_ports=[estate.stack.enter_context(harm).port])
    for name, conduct in (("hangs-up", "immediate_close"), ("web-on-dicom-port", "http_on_dicom")):
        address = estate.address()
        other = listening(probe_hostile.DICOM[conduct], listening_sockets([address]))
        estate.add(name, address, dicom_ports=[estate.stack.enter_context(other).port])
    address = estate.address()
    unexpected = estate.stack.enter_context(scp(Conduct(), sockets=listening_sockets([address])))
    estate.add("unexpected", address, dicom_ports=[unexpected.port], posture="closed")
    estate.add("closed", estate.address(), dicom_ports=[free_port()], http_ports=[free_port()], posture="closed")
    address = estate.address()
    beside = estate.stack.enter_context(neighbours(("postgresql", "redis", "mllp"), address))
    page = estate.stack.enter_context(web(Site({"/": Page(200, "hello")}), sockets=listening_sockets([address])))
    estate.add("neighbours", address, http_ports=[page.port], neighbour_ports=sorted(beside.ports.values()))


def own(estate: Estate) -> None:
    """Strongroom, asked by strangers, and by the peer that it knows."""
    target = estate.stack.enter_context(strongroom(estate.folder / "strongroom"))
    own_one = target.credentials
    ports = {"dicom_ports": [target.dicom_port], "http_ports": [target.https_port]}
    known = {"client_certificate": str(own_one.certificate), "client_key": str(own_one.key)}
    titles = {"called_title": "STRONGROOM", "calling_title": PEER}
    estate.add("strongroom", "127.0.0.1", **ports, **titles, **known)


PARTS: tuple[Callable[[Estate], None], ...] = (orthancs, toolkits, fronts, web_products, mocks, own)


@contextmanager
def estate(folder: Path, *parts: Callable[[Estate], None]) -> Iterator[Estate]:
    """All servers of these parts, or of all."""
    with ExitStack() as stack:
        made = Estate(folder, stack)
        for part in parts or PARTS:
            part(made)
        yield made
