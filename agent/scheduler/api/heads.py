"""The head of a call is bounded, as Litestar bounds its body: else anybody could fill the memory with no token."""

from __future__ import annotations

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEAD_BYTES = 64 << 10
REFUSED = b"HTTP/1.1 431 Request Header Fields Too Large\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class BoundedHeads(HttpToolsProtocol):
    """A connection that ends with 431 when address and headers of a call are longer than LARGEST_HEAD_BYTES."""

    _in_head = True
    _head_bytes = 0
    _ended = False

    def data_received(self, data: bytes) -> None:
        """What came of a call, or of several: all of it is one head if a head it is still and no call ended in it."""
        self._ended = False
        super().data_received(data)
        if not self._in_head:
            return
        self._head_bytes = 0 if self._ended else self._head_bytes + len(data)
        if self._head_bytes > LARGEST_HEAD_BYTES:
            self.transport.write(REFUSED)
            self.transport.close()

    def on_headers_complete(self) -> None:
        """A body begins, if there is one."""
        self._in_head = False
        super().on_headers_complete()

    def on_message_complete(self) -> None:
        """Another head may begin."""
        self._in_head = self._ended = True
        super().on_message_complete()
