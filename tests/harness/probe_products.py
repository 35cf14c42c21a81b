"""What web products of the field show to a stranger, open and behind their logins: sites for ``probe_http.web``.

Written from what each product documents about its own addresses, as small as a look from outside can tell it by.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from harness.probe_http import Asked, Page, Site, json_page, qido

STUDIES: list[Mapping[str, Any]] = [
    {
        "00080020": {"vr": "DA", "Value": [f"2024010{number}"]},
        "00201208": {"vr": "IS", "Value": [10]},
        "00100010": {"vr": "PN", "Value": [{"Alphabetic": f"{name}^MOCK"}]},
        "00100020": {"vr": "LO", "Value": [f"MOCK{7 * number}"]},
        "0020000D": {"vr": "UI", "Value": [f"1.2.826.0.1.3680043.9.88.{number}"]},
    }
    for number, name in enumerate(("ALDERBROOK", "BYWATERS", "CRANMORE", "DUNSTABLE", "EVERTHORPE"), 1)
]
EMPTY_MULTIPART = Page(400, "no parts")
UNAUTHORISED = Page(401, "", headers={"WWW-Authenticate": 'Basic realm="images"'})
BEARER = Page(401, "", headers={"WWW-Authenticate": "Bearer"})


def _html(title: str, body: str = "", **headers: str) -> Page:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Page(
        200, f"<!doctype html><html><head><title>{title}</title></head><body>{body}</body></html>", headers=named
    )


def _uids(asked: Asked) -> list[str]:
    """The UIDs of the probe's objects in what is posted; a real server reads the data set."""
    if asked.method != "POST" or b"DICM" not in asked.body:
        return []
    return list(dict.fromkeys(uid.decode() for uid in re.findall(rb"2\.25\.\d{30,39}", asked.body)))


def _studies(asked: Asked) -> Page:
    """Search and store, for everybody: what is posted is there from then on."""
    if asked.method != "POST":
        stored = [{"0020000D": {"vr": "UI", "Value": [uid]}} for each in asked.all for uid in _uids(each)]
        return qido([*STUDIES, *stored])(asked)
    references = [{"00081155": {"vr": "UI", "Value": [uid]}} for uid in _uids(asked)]
    if not references:
        return EMPTY_MULTIPART
    return json_page({"00081199": {"vr": "SQ", "Value": references}}, "application/dicom+json")


def dicomweb(root: str) -> dict[str, Any]:
    """The pages of an open DICOMweb service below ``root``."""
    return {
        f"{root}/studies": _studies,
        f"{root}/patients": json_page([], "application/dicom+json"),
        f"{root}/studies/*": Page(404, "no such object"),
    }


_FORM = '<form method="post"><input name="username"><input type="password" name="password"></form>'

_DCM4CHEE_AETS = json_page([{"dicomAETitle": "DCM4CHEE", "dicomDescription": "Hide instances rejected for Quality"}])
_KEYCLOAK = Page(302, "", headers={"Location": "/auth/realms/dcm4che/protocol/openid-connect/auth?client_id=x"})
_WILDFLY = {"Server": "WildFly/26", "X-Powered-By": "Undertow/1"}

OPEN: dict[str, Site] = {
    "dcm4chee-arc": Site(
        {
            "/dcm4chee-arc/aets": _DCM4CHEE_AETS,
            "/dcm4chee-arc/ui2/*": _html("dcm4chee-arc", '<base href="/dcm4chee-arc/ui2/"><app-root></app-root>'),
            "/dcm4chee-arc/ctrl/status": json_page({"status": "STARTED"}),
            **dicomweb("/dcm4chee-arc/aets/DCM4CHEE/rs"),
            "/dcm4chee-arc/aets/DCM4CHEE/wado": Page(404, "no such object"),
        },
        _WILDFLY,
    ),
    "OHIF": Site(
        {
            "/": _html("OHIF Viewer", '<div id="root"></div><script src="/app-config.js"></script>'),
            "/app-config.js": Page(200, "window.config = {routerBasename: '/', dataSources: []};", "text/javascript"),
            **dicomweb("/dicom-web"),
        },
        {"Server": "nginx/1.25.3"},
    ),
    "Dicoogle": Site(
        {
            "/": _html("Dicoogle", '<script src="dicoogle-client.js"></script>'),
            "/version": json_page({"version": "3.3.1"}),
            "/ext": json_page([]),
            "/login": json_page({"user": "dicoogle", "admin": True}),
            "/providers": json_page(["lucene"]),
            "/search": json_page({"results": [{"uri": "file:///x", "fields": {}}] * 3, "numResults": 3}),
        }
    ),
    "MedDream": Site(
        {"/": _html("MedDream DICOM Viewer", '<div id="meddream"></div>'), "/meddream/*": _html("MedDream")}
    ),
    "PACSOne": Site(
        {
            "/pacs/home.php": _html("PacsOne Server 6.6.2", "Browse, Search, Worklist"),
            "/pacs/": Page(302, "", headers={"Location": "/pacs/home.php"}),
        },
        {"Server": "Apache/2.4.6 PHP/5.6.40", "X-Powered-By": "PHP/5.6.40"},
    ),
    "Conquest": Site(
        {
            "/cgi-bin/dgate*": _html("CONQUEST DICOM server", "<H2>Conquest DICOM server - version 1.5.0c</H2>"),
            "/dgate*": _html("CONQUEST DICOM server", "<H2>Conquest DICOM server - version 1.5.0c</H2>"),
        }
    ),
    "Kheops": Site({"/": _html("KHEOPS", '<div id="app"></div>'), "/api/studies": qido(STUDIES)}),
    "Oviyam": Site(
        {"/oviyam2/*": _html("Oviyam 2.8.2", '<div id="patient-search"></div>')}, {"Server": "Apache-Coyote/1.1"}
    ),
    "Weasis": Site({"/weasis-pacs-connector/*": _html("Weasis PACS connector", '<a href="weasis://x">view</a>')}),
    "Stone": Site(
        {
            "/stone-webviewer/index.html": _html("Stone Web viewer", '<script src="stone.js"></script>'),
            "/system": json_page({"ApiVersion": 25, "DicomAet": "ORTHANC", "Name": "clinic", "Version": "1.12.3"}),
            "/ui/app/": _html("Orthanc Explorer 2", '<div id="app"></div>'),
            "/app/explorer.html": _html("Orthanc Explorer"),
            "/patients": json_page(["8a8cf898-ca27c490-d0c7058c-929d0581-2bbf104d"]),
            "/studies": json_page(["27f7126f-4f66fb14-03f4081b-f9341db2-53925988"]),
            "/statistics": json_page({"CountPatients": 1, "CountStudies": 1, "CountInstances": 9}),
            **dicomweb("/dicom-web"),
        }
    ),
    "Microsoft": Site(
        {**dicomweb("/v2"), "/health/check": json_page({"overallStatus": "Healthy", "details": []})},
        {"api-supported-versions": "v1, v2", "Server": "Kestrel"},
    ),
    "Google": Site(dicomweb("/dicomWeb")),
    "S3": Site(
        {
            "/": Page(
                200,
                '<?xml version="1.0" encoding="UTF-8"?><ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
                "<Name>scans</Name><IsTruncated>false</IsTruncated>"
                + "".join(f"<Contents><Key>ct/{n}.dcm</Key><Size>525312</Size></Contents>" for n in range(4))
                + "</ListBucketResult>",
                "application/xml",
            )
        },
        {"Server": "AmazonS3", "x-amz-request-id": "0123456789ABCDEF"},
    ),
}
"""Sites by product, open to everybody."""

LOCKED: dict[str, Site] = {
    "dcm4chee-arc": Site(
        {"/dcm4chee-arc/ui2/*": _KEYCLOAK, "/auth/realms/dcm4che/*": _html("Sign in to dcm4che", _FORM)},
        _WILDFLY,
        login=BEARER,
        open=frozenset({"/dcm4chee-arc/ui2/", "/auth/realms/dcm4che/protocol/openid-connect/auth"}),
    ),
    "OHIF": Site(
        {"/*": Page(302, "", headers={"Location": "/oauth2/sign_in"}), "/oauth2/sign_in": _html("Sign In", _FORM)}
    ),
    "Dicoogle": Site(
        {
            "/": _html("Dicoogle", '<script src="dicoogle-client.js"></script>'),
            "/version": json_page({"version": "3.3.1"}),
        },
        login=Page(401, ""),
        open=frozenset({"/", "/version"}),
    ),
    "MedDream": Site({"/*": Page(302, "", headers={"Location": "/login"}), "/login": _html("MedDream", _FORM)}),
    "PACSOne": Site(
        {
            "/pacs/*": Page(302, "", headers={"Location": "/pacs/login.php"}),
            "/pacs/login.php": _html("PacsOne Server", _FORM),
        }
    ),
    "Conquest": Site({}, login=UNAUTHORISED),
    "Kheops": Site({"/": _html("KHEOPS", '<div id="app"></div>')}, login=BEARER, open=frozenset({"/"})),
    "Oviyam": Site({"/oviyam2/*": _html("Oviyam 2.8.2", f'<form action="j_security_check"></form>{_FORM}')}),
    "Weasis": Site({}, login=UNAUTHORISED),
    "Stone": Site({}, login=Page(401, "", headers={"WWW-Authenticate": 'Basic realm="Orthanc Secure Area"'})),
    "Microsoft": Site({}, login=BEARER),
    "Google": Site(
        {},
        login=json_page({"error": {"code": 401, "status": "UNAUTHENTICATED", "message": "invalid credentials"}}),
    ),
    "S3": Site(
        {},
        {"Server": "AmazonS3"},
        login=Page(403, "<Error><Code>AccessDenied</Code></Error>", "application/xml"),
    ),
}
"""The same products behind their logins."""
