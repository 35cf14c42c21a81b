"""The DICOMweb half of the conformance statement, from the table of operations (PS3.18)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence

from strongroom.archive.tokens import RIGHTS
from strongroom.web.operation import COMMON_STATUSES, PREFIX, Operation
from strongroom.web.operations import OPERATIONS
from strongroom.web.problem import PROBLEMS

Row = Sequence[object]
Table = Callable[[Row, Iterable[Row]], Iterator[str]]
Keys = Callable[..., Iterator[Row]]

SERVICE = tuple(operation for operation in OPERATIONS if not operation.is_page)


def overview_rows() -> Iterator[Row]:
    """Which services of PS3.18 there are."""
    for service, begin in (
        ("URI service (WADO-URI)", "/dicomweb/wado"),
        ("Studies service, search (QIDO-RS)", "search"),
        ("Studies service, retrieve (WADO-RS)", "retrieve"),
        ("Studies service, store (STOW-RS)", "store"),
    ):
        yield service, "no", "yes" if any(begin in (o.path, o.name[: len(begin)]) for o in SERVICE) else "no"
    for service in (
        "Worklist service (UPS-RS)",
        "Non-patient instance service",
        "Storage commitment service",
        "Modality scheduled and performed procedure step services",
    ):
        yield service, "no", "no"


def _cells(items: Iterable[object]) -> str:
    return "<br>".join(f"`{item}`" for item in items) or "–"


def web_services(table: Table) -> Iterator[str]:
    """Chapter 5.3: every operation with its parameters and media types."""
    yield f"### 5.3 DICOM web services\n\nThe root of the service is `{PREFIX}` (PS3.18 8.2); HTTP/1.1 over TLS only.\n"
    words = ", ".join(f"{word} for {right.value}" for word, right in RIGHTS.items() if word != right.value)
    yield f"Rights are named as those of peers. Tokens and JWTs say {words}.\n"
    yield "Searches match by any attribute of [5.2.7](#527-queryretrieve), as `KEYWORD=value` or `TAG=value`.\n"
    yield from table(
        ("operation", "request", "right", "request body", "answers with", "statuses"),
        (
            (
                operation.summary,
                f"`{operation.method} {operation.path}`",
                operation.right.value if operation.right else ("none, anybody" if operation.public else "any"),
                _cells(operation.consumes),
                _cells(operation.produces),
                ", ".join(map(str, operation.statuses)),
            )
            for operation in SERVICE
        ),
    )
    yield "Parameters and headers of their own:\n"
    yield from table(("parameter", "in", "meaning", "operations"), _parameters(SERVICE))


def _parameters(operations: Sequence[Operation]) -> Iterator[Row]:
    used: dict[tuple[str, str, str], list[str]] = {}
    for operation in operations:
        for parameter in operation.parameters:
            used.setdefault((parameter.name, parameter.place, parameter.description), []).append(operation.name)
    for (name, place, description), names in used.items():
        yield f"`{name}`", place, description, _cells(names)


def web_configuration(table: Table, keys: Keys) -> Iterator[str]:
    """Chapter 6.3: the keys of the HTTPS server."""
    yield from table(("key", "default", "meaning"), keys("https"))


def web_statuses(table: Table) -> Iterator[str]:
    """Chapter 7.3.2: statuses that every operation may answer, and errors."""
    yield "#### 7.3.2 DICOM web services\n"
    common = ", ".join(map(str, sorted(COMMON_STATUSES)))
    yield f"Beside those of each operation above, any may answer: {common}. An error is a problem (RFC 9457):\n"
    yield from table(
        ("status", "title", "error"),
        sorted((problem.status, problem.title, kind.__name__) for kind, problem in PROBLEMS.items()),
    )
