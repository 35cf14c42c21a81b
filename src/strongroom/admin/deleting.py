"""Deleting a study by two people: the first one proposes it, the second one, who reviews, does it."""

from __future__ import annotations

from dataclasses import replace

from strongroom.admin.agreeing import Agreement, Wish
from strongroom.admin.deletion import Deletion, Watch, delete_study
from strongroom.app import Archive
from strongroom.archive.proposals import Proposal
from strongroom.archive.reasons import parse_reason
from strongroom.archive.scopes import whole_studies
from strongroom.errors import Denied, NotFound
from strongroom.store.scope import is_study_visible
from strongroom.types import Part, Scope, Uid


def propose_or_delete(archive: Archive, wish: Wish, watch: Watch) -> Proposal | Deletion:
    """Note the wish, or, if somebody else has proposed it, delete the study.

    Raises Denied or NotFound, recorded, and ConfigError or StorageUnavailable, with nothing changed.
    """
    wish = require_study(archive, wish)
    agreement = Agreement(archive, wish)
    proposed = agreement.propose()
    if proposed is not None:
        return proposed
    caller = None if wish.principal is archive.principal else wish.principal
    return delete_study(archive, wish.subject, wish.reason, watch, caller, agreement)


def require_study(archive: Archive, wish: Wish) -> Wish:
    """The wish with its reason and UID as they are kept. Raises NotFound if the study is not there for who wishes it,
    Denied if he may not see all of it, ConfigError for the reason."""
    study = Uid.parse(wish.subject)
    scope = wish.principal.scope
    shown = Scope((Part(studies=(study,)),)) if scope is None else scope
    with archive.index.database.read() as cursor:
        if not is_study_visible(cursor, archive.backend.dialect, shown, study):
            raise NotFound(f"no study {study}")
        if not is_study_visible(cursor, archive.backend.dialect, whole_studies(shown), study):
            raise Denied("scope-of-parts-of-studies")
    return replace(wish, subject=str(study), reason=parse_reason(wish.reason))
