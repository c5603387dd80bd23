"""Where a socket of the network listens."""

from __future__ import annotations

import socket

import pytest
import zmq

from proxtop.bus.sockets import Context, bounded, listen


def _free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port: int = server.getsockname()[1]
        return port


@pytest.mark.parametrize("host", ["*", "127.0.0.1", "localhost"])
def test_a_reader_connects_and_a_second_one_who_listens_is_refused(host: str) -> None:
    address, context = f"tcp://{host}:{_free_port()}", Context()
    ends = [bounded(context.socket(kind)) for kind in (zmq.XPUB, zmq.XPUB, zmq.SUB)]
    serving, second, reader = ends
    try:
        listen(serving, address, 8)
        with pytest.raises(OSError, match="in use"):
            listen(second, address, 8)
        reader.set(zmq.SUBSCRIBE, b"topic")
        reader.connect(address.replace("*", "127.0.0.1"))
        assert zmq.zmq_poll([(serving, zmq.POLLIN)], 5000)
        assert serving.recv() == b"\x01topic"
    finally:
        for end in ends:
            end.close(0)
        context.term()
