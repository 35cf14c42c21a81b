"""Whether the sections about identity providers hold together."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

from strongroom.config.sections import OidcSection
from strongroom.errors import ConfigError

MAX_PROVIDERS: Final = 16
_NAME: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,22}[a-z0-9])?", re.ASCII)
_ISSUER: Final = re.compile(r"https://[A-Za-z0-9.-]{1,253}(?::[0-9]{1,5})?(?:/[A-Za-z0-9._~/-]*)?", re.ASCII)
_SCOPE: Final = re.compile(r"[!#-\[\]-~]+", re.ASCII)


def check_providers(sections: Sequence[OidcSection]) -> None:
    """Return if every section is whole, and no two are of one provider. Raises ConfigError."""
    if len(sections) > MAX_PROVIDERS:
        raise ConfigError(f"oidc: at most {MAX_PROVIDERS} providers")
    for key, values in (("name", [each.name for each in sections]), ("issuer", [each.issuer for each in sections])):
        if any(count > 1 for count in Counter(values).values()):
            raise ConfigError(f"oidc.{key}: two providers have the same")
    for each in sections:
        _check_words(each)
        _check_roles(each)
        if not 0 <= each.leeway_s <= 300:
            raise ConfigError("oidc.leeway_s must be 0 to 300")
        if not 1 <= each.timeout_s <= 60:
            raise ConfigError("oidc.timeout_s must be 1 to 60")


def _check_words(section: OidcSection) -> None:
    if not _NAME.fullmatch(section.name):
        raise ConfigError("oidc.name is 1 to 24 small letters, digits and dashes, for example hospital")
    if not section.label.strip() or len(section.label) > 64 or not section.label.isprintable():
        raise ConfigError("oidc.label is what the link to it says, at most 64 characters")
    if not _ISSUER.fullmatch(section.issuer):
        raise ConfigError("oidc.issuer must begin with https:// and have neither user, query nor fragment")
    if not section.client_id.strip() or not section.client_id.isprintable():
        raise ConfigError("oidc.client_id must be set: what the archive is called at the provider")
    if not all(map(_SCOPE.fullmatch, section.scopes)):
        raise ConfigError("oidc.scopes holds words without spaces")
    if not section.algorithms:
        raise ConfigError("oidc.algorithms must name one at least")
    if not section.name_claim:
        raise ConfigError("oidc.name_claim must name a claim")


def _check_roles(section: OidcSection) -> None:
    if bool(section.roles_claim) is not bool(section.grants):
        raise ConfigError("oidc.roles_claim and oidc.grants go together: the claim, and what its values make of people")
    if section.make_accounts and not section.grants:
        raise ConfigError("oidc.make_accounts needs oidc.roles_claim and oidc.grants: else nobody would have a role")
    if any(not grant.value or not grant.roles for grant in section.grants):
        raise ConfigError("oidc.grants: each has a value and a role")
