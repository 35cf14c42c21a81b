"""The end of associations: what is under way may end, whatever is just beginning."""

from __future__ import annotations

import threading

from strongroom.net.associations import HANDSHAKE, Associations

TIMEOUT_S = 10.0


def test_the_end_waits_for_a_thread_that_is_about_to_begin() -> None:
    begun, may_end = threading.Event(), threading.Event()

    def handshake() -> None:
        begun.set()
        may_end.wait(TIMEOUT_S)

    beginning = threading.Thread(target=handshake, name=HANDSHAKE)
    failures: list[BaseException] = []

    def stop() -> None:
        try:
            Associations(None, None, None).stop(TIMEOUT_S)  # type: ignore[arg-type]  # nothing is served
        except RuntimeError as error:
            failures.append(error)

    ending = threading.Thread(target=stop)
    threading._limbo[beginning] = beginning  # type: ignore[attr-defined]  # as between two lines of `start`
    ending.start()
    ending.join(0.05)
    beginning.start()
    assert begun.wait(TIMEOUT_S)
    ending.join(0.05)
    assert ending.is_alive()
    may_end.set()
    ending.join(TIMEOUT_S)
    assert not ending.is_alive()
    assert failures == []
