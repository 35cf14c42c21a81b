"""What a peer takes along: its certificate, its key under a passphrase, and the CA, in one ZIP archive.

Twice, as programs of two kinds want it: PEM files, and PKCS #12 (RFC 7292). The passphrase has as many random bits as
the key needs, so that the file may go by a way that others see, and the passphrase by another one.
"""

from __future__ import annotations

import io
import secrets
from typing import Final
from zipfile import ZIP_STORED, ZipFile, ZipInfo

from strongroom.admin.peers import Enrolled, folder_name
from strongroom.app import Archive
from strongroom.archive.administration import Credentials
from strongroom.errors import ConfigError
from strongroom.net.certificates import encrypted_key, pkcs12

PASSPHRASE_BYTES: Final = 16
_NO_DATE: Final = (1980, 1, 1, 0, 0, 0)

_READ_ME: Final = """\
{aet}: how it calls the archive

Called AE title   {called}
Calling AE title  {aet}
Address           {address}
TLS               always, versions 1.2 and 1.3, with this certificate

cert.pem          its certificate
key.pem           its private key, encrypted under the passphrase that was shown once
{aet_file}.p12{pad}the two and the CA as PKCS #12, under the same passphrase
ca.pem            the CA that the archive's own certificate is issued by

Nobody can show key or passphrase again. Lost, or seen by somebody else: revoke the peer and add it again.
"""


def packed(archive: Archive, enrolled: Enrolled) -> Credentials:
    """The credentials of a peer for whom a certificate was issued."""
    if enrolled.issued is None:
        raise ConfigError("no certificate was issued")
    aet, issued = enrolled.peer.aet, enrolled.issued
    passphrase = secrets.token_urlsafe(PASSPHRASE_BYTES)
    name = folder_name(aet)
    dicom = archive.config.dicom
    host = archive.config.https.names[0] if archive.config.https.names else dicom.bind
    said = _READ_ME.format(
        aet=aet,
        called=archive.aet,
        address=f"{host}, port {dicom.port or 'as the archive says at its start'}",
        aet_file=name,
        pad=" " * max(1, 14 - len(name)),
    )
    files = {
        "READ-ME.txt": said.encode(),
        "cert.pem": issued.certificate_pem,
        "key.pem": encrypted_key(issued.key_pem, passphrase.encode()),
        "ca.pem": enrolled.authority_pem,
        f"{name}.p12": pkcs12(issued, enrolled.authority_pem, aet, passphrase.encode()),
    }
    whole = io.BytesIO()
    with ZipFile(whole, "w", ZIP_STORED) as archive_file:
        for file_name, content in files.items():
            archive_file.writestr(ZipInfo(f"{name}/{file_name}", _NO_DATE), content)
    return Credentials(f"{name}.zip", whole.getvalue(), passphrase)
