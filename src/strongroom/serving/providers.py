"""The identity providers of one process, put together from the configuration."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

from strongroom.app import Archive
from strongroom.archive.access import parse_scope
from strongroom.archive.federation import Grant
from strongroom.archive.roles import parse_roles
from strongroom.config import OidcSection
from strongroom.errors import ConfigError
from strongroom.net import outbound
from strongroom.net.tls import public_context
from strongroom.oidc.flow import FLOW_S
from strongroom.oidc.provider import Provider
from strongroom.oidc.settings import ProviderSettings
from strongroom.oidc.signing_in import ProviderPorts, Providers
from strongroom.people.provided import Provided
from strongroom.people.steps import Steps

if TYPE_CHECKING:  # the type alone: only net.tls may use the module
    import ssl

OPEN_ID: Final = "openid"
_OF_OTHERS: Final = 0o077


def providers_of(archive: Archive, steps: Steps) -> Providers:
    """The providers that the configuration names. Raises ConfigError if one of them cannot be."""
    root = archive.home.root
    provided = Provided(steps, archive.index.registry, FLOW_S)
    known = [
        Provider(settings_of(each, root), _trust(each, root), time.monotonic, outbound.ask)
        for each in archive.config.oidc
    ]
    return Providers(
        known,
        ProviderPorts(
            seal=provided.seal,
            open=provided.open,
            take=provided.take,
            enter=provided.enter,
            refused=provided.refused,
            count=provided.count,
            clock=steps.ports.clock,
        ),
    )


def settings_of(section: OidcSection, root: Path) -> ProviderSettings:
    """What a section says; its files are named from ``root``. Raises ConfigError."""
    grants = [
        Grant(each.value, parse_roles(",".join(each.roles)), parse_scope(each.scope) if each.scope else None)
        for each in section.grants
    ]
    return ProviderSettings(
        name=section.name,
        label=section.label,
        issuer=section.issuer,
        client_id=section.client_id,
        secret=_secret(root / section.client_secret_file) if section.client_secret_file else "",
        scopes=tuple(dict.fromkeys((OPEN_ID, *section.scopes))),
        name_claim=section.name_claim,
        roles_claim=section.roles_claim,
        grants=tuple(grants),
        makes_accounts=section.make_accounts,
        multifactor_amr=frozenset(section.multifactor_amr),
        multifactor_acr=section.multifactor_acr,
        algorithms=frozenset(section.algorithms),
        leeway_s=section.leeway_s,
        timeout_s=section.timeout_s,
    )


def _secret(path: Path) -> str:
    """The client's secret: what is in the file, without the end of its line. Raises ConfigError."""
    key = "oidc.client_secret_file"
    try:
        if path.stat().st_mode & _OF_OTHERS:
            raise ConfigError(f"{key} {path} is open to others: chmod 600 it")
        found = path.read_text(encoding="utf-8").rstrip("\r\n")
    except OSError as error:
        raise ConfigError(f"{key} {path}: {error.strerror}") from None
    except UnicodeDecodeError:
        found = ""
    if not found or len(found) > 4096 or not found.isprintable():
        raise ConfigError(f"{key} {path} holds no secret: one line")
    return found


def _trust(section: OidcSection, root: Path) -> ssl.SSLContext | None:
    if not section.ca_file:
        return None
    path = root / section.ca_file
    try:
        text = path.read_text(encoding="ascii")
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"oidc.ca_file {path} cannot be read ({type(error).__name__})") from None
    return public_context(text)
