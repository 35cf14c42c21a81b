"""All that `serve` runs on an open archive: started in order, and ended in order within a time that is known before."""

from __future__ import annotations

import threading
from typing import Final

from strongroom.app import Archive
from strongroom.metrics.tally import Tally
from strongroom.serving.board import Board
from strongroom.serving.checkservice import BackgroundCheck
from strongroom.serving.dicomservice import DicomService
from strongroom.serving.dicomworker import LAST_MOMENT_S as DICOM_LAST_MOMENT_S
from strongroom.serving.dicomworker import drain_s
from strongroom.serving.digestservice import LAST_MOMENT_S as DIGEST_LAST_MOMENT_S
from strongroom.serving.digestservice import DigestService
from strongroom.serving.gauges import Gauges
from strongroom.serving.reporting import SERVE_PLACE, Reporter, board_places
from strongroom.serving.selfreport import SelfReport
from strongroom.serving.weborders import LAST_MOMENT_S as HTTPS_LAST_MOMENT_S
from strongroom.serving.webservice import WebService

LAST_CHECKPOINT_S: Final = 30.0
"""For the last records and the last checkpoint, in a directory that may be on a share."""


class Served:
    """The services of one archive. ``start``, ``drain`` and ``stop`` are called once, in this order."""

    def __init__(self, archive: Archive) -> None:
        self._archive = archive
        self.https_at = ""
        """``https=ADDRESS:PORT`` once started, "" if nothing is served over HTTPS."""
        self._board = Board.new(board_places(archive.config))
        reporter = Reporter(self._board, SERVE_PLACE, "serve", Tally())
        self._dicom = DicomService(archive, reporter)
        self._web = WebService(archive, reporter, self._dicom.take_in)
        self._check, self._digests = BackgroundCheck(archive), DigestService(archive.home, archive.config)
        self._gauges = Gauges(archive, self._dicom, reporter)
        self._self_report = SelfReport(archive, self._board)

    def start(self) -> list[str]:
        """Listen on all ports; returns what is listening, in lines, the last of which says that all is ready.

        Raises ConfigError.
        """
        first, *others = self._dicom.start()
        self._gauges.start()
        self.https_at = self._web.start()
        self._check.start()
        if self._archive.config.screening.digests:
            self._digests.start()
        self._self_report.start([first, *filter(None, (self.https_at,)), *others])
        return [*others, " ".join(filter(None, ("ready", first, self.https_at)))]

    @property
    def longest_end_s(self) -> float:
        """How long ``drain`` and ``stop`` take at most, seconds."""
        config = self._archive.config
        web_s = config.https.drain_timeout_s + HTTPS_LAST_MOMENT_S
        dicom_s = drain_s(config) + 2 * DICOM_LAST_MOMENT_S
        return max(web_s, dicom_s, 2 * DIGEST_LAST_MOMENT_S) + LAST_CHECKPOINT_S

    def drain(self) -> None:
        """Take nothing new, and let what is under way end, all of it at the same time; also after half a start."""
        self._gauges.stop()
        ends = (self._stop_web, self._check.stop, self._digests.stop)
        threads = [threading.Thread(target=end, name="ending") for end in ends]
        for thread in threads:
            thread.start()
        self._dicom.drain(self._archive.config.dicom.drain_timeout_s, until_release=True)
        for thread in threads:
            thread.join()

    def _stop_web(self) -> None:
        try:
            self._web.stop()
        finally:  # what is uploaded is taken in by processes that serve associations: they end after it
            self._dicom.release()

    def stop(self) -> None:
        """Say in the trail that it is over, and write the last checkpoint."""
        self._self_report.stop()
        self._dicom.stop()
        self._board.close()
