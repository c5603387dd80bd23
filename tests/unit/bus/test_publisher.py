"""A publisher and brokers that come and go."""

from __future__ import annotations

import pathlib
import tempfile

import zmq

from proxtop.bus import frames, topics
from proxtop.bus.sockets import Context, Publisher, bounded, receive
from proxtop.model import Status


def test_a_broker_that_is_started_again_gets_the_last_frame_of_every_topic() -> None:
    context = Context()
    with tempfile.TemporaryDirectory(prefix="ptu-") as folder:
        endpoint = f"ipc://{pathlib.Path(folder)}/publish.sock"
        publisher = Publisher(context, endpoint, "node")
        for actor in ("a", "b", "a"):
            publisher.publish(topics.STATUS, actor, 0, Status(actor, "running", 1, 1.0))
        assert publisher.drops == 1  # the first of a's, before anybody was there
        for _ in range(3):
            broker = bounded(context.socket(zmq.XSUB))
            broker.bind(endpoint)
            broker.send(b"\x01")
            got: set[tuple[str, int]] = set()
            while got != {("a", 2), ("b", 1)}:
                assert zmq.backend.zmq_poll([(publisher.socket, zmq.POLLIN), (broker, zmq.POLLIN)], 10_000), got
                publisher.on_readable()
                while (found := receive(broker)) is not None:
                    message = frames.decode(found)
                    got.add((message.part, message.stamp.seq))
            broker.close(0)
        assert publisher.drops == 1
        publisher.close()
    context.term()
