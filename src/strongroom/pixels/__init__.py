"""Pixel data: decoding, encoding, rendering. All of it happens in worker processes that can do nothing else.

The process that serves never imports a codec. It holds a ``Pixels`` (``pixels.pool``), whose methods block and may be
called from any thread:

    pixels.transcode(source, from_uid, to_uid) -> Iterator[bytes]
        the data set of ``source`` as ``to_uid``, without file meta information, in chunks of up to 256 KiB
    pixels.frames(source, from_uid, to_uid, numbers) -> Iterator[bytes]
        each of these frames (from 1) as ``to_uid``: native pixels, or one code stream without fragments' headers
    pixels.render(source, from_uid, rendering) -> Rendered
        an image, an animation or a video: its media type and bytes

``source`` is anything with ``size`` and ``read(offset, length)``, such as an ``archive.ports.BlobReader``: the plain
data set, from its first byte after the file meta information. A worker asks for the ranges that it needs and holds a
frame at a time. An iterator must be exhausted or closed (``close()``): until then it keeps its worker.

They raise ``NotRepresentable`` (406: no codec for it, no pixels, or pixel data that does not decode), ``CodecFailed``
(500: crash, hang, too much memory), ``Busy`` (503: every worker is taken), ``LimitExceeded``, ``NotFound`` (no such
frame), and what ``source.read`` raises.

``pixels.syntaxes`` is the table of what decodes and encodes: pure data, for negotiation and for the documents.
"""
