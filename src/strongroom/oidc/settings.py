"""What the configuration says of one provider. Data."""

from __future__ import annotations

from dataclasses import dataclass, field

from strongroom.archive.federation import Grant


@dataclass(frozen=True, slots=True)
class ProviderSettings:
    """One provider. ``secret`` "" = a public client, which has PKCE alone.

    ``multifactor_amr`` and ``multifactor_acr`` are the values of these claims that stand for two factors; none does if
    they are empty.
    """

    name: str
    label: str
    issuer: str
    client_id: str
    secret: str = field(repr=False)
    scopes: tuple[str, ...]
    name_claim: str
    roles_claim: str
    grants: tuple[Grant, ...]
    makes_accounts: bool
    multifactor_amr: frozenset[str]
    multifactor_acr: tuple[str, ...]
    algorithms: frozenset[str]
    leeway_s: float
    timeout_s: float
