"""The caps of the upper layer: every number a stranger could inflate, and why it stops where it does."""

from __future__ import annotations

from dataclasses import dataclass

from strongroom.errors import ConfigError


@dataclass(frozen=True, slots=True)
class UlLimits:
    """Caps that are checked before memory is taken or a loop is run. Raises ConfigError if one makes no sense."""

    max_pdu_body_bytes: int = 262_144
    """Largest P-DATA-TF body we take, advertised as Maximum Length Received (PS3.8 D.1), and the largest we send.

    Above 256 KiB a bigger PDU no longer saves Python time, and 200 busy associations still fit in 64 MiB.
    """

    max_associate_pdu_bytes: int = 65_536
    """Largest A-ASSOCIATE-RQ/AC body. 128 contexts of sixteen transfer syntaxes and a role each come to 63 KiB."""

    max_contexts: int = 128
    """Presentation contexts per request: all the odd identifiers that one byte holds (PS3.8 9.3.2.2)."""

    max_transfer_syntaxes_per_context: int = 64
    """The standard defines about sixty; nobody can honestly propose more."""

    max_user_items: int = 512
    """User information sub-items: three per SOP class of 128 contexts, the six single ones, and room for new ones."""

    max_related_sop_classes: int = 64
    """Related general SOP classes in one common extended negotiation item: the standard names at most a few."""

    min_peer_pdu_body_bytes: int = 1_024
    """Smallest Maximum Length Received we serve. A peer asking for 8-byte PDUs would cost us a frame for two bytes."""

    idle_buffer_bytes: int = 4_096
    """Receive buffer of an association that has nothing large in flight; an ordinary A-ASSOCIATE-RQ fits."""

    def __post_init__(self) -> None:
        if not 1 <= self.max_contexts <= 128:
            raise ConfigError("max_contexts is between 1 and 128")
        if not 1_024 <= self.max_pdu_body_bytes <= 1 << 27:
            raise ConfigError("max_pdu_body_bytes is between 1024 and 134217728")
        if not 256 <= self.max_associate_pdu_bytes <= 1 << 20:
            raise ConfigError("max_associate_pdu_bytes is between 256 and 1048576")
        if not 16 <= self.min_peer_pdu_body_bytes <= 4_096:
            raise ConfigError("min_peer_pdu_body_bytes is between 16 and 4096")
        if not 256 <= self.idle_buffer_bytes <= 65_536:
            raise ConfigError("idle_buffer_bytes is between 256 and 65536")
        if min(self.max_transfer_syntaxes_per_context, self.max_user_items, self.max_related_sop_classes) < 1:
            raise ConfigError("a limit of the upper layer is at least 1")
