"""Speaks to a proxtopd: a line of words on its control socket, a line of JSON back. Who may connect may control."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

from proxtop.bus import endpoints

LONGEST = 4096
"""The most bytes of a request."""

_ANSWER_S = 30.0


class ControlError(Exception):
    """It can't be asked, or it refuses; the text says what, where and what to do."""


def allowed(directory: str) -> bool:
    """Whether we may control the fleet that serves that bus."""
    return os.access(endpoints.control(directory), os.W_OK)


def directory(endpoint: str) -> str | None:
    """The directory of that bus where a proxtopd serves it that we may control."""
    found = os.path.dirname(endpoint.removeprefix("ipc://"))
    return found if endpoint.startswith("ipc://") and allowed(found) else None


def ask(directory: str, *words: str, timeout: float = _ANSWER_S) -> dict[str, Any]:
    """What the fleet on that bus answers; ControlError where it refuses or can't be reached."""
    path = endpoints.control(directory)
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as line:
            line.settimeout(timeout)
            line.connect(path)
            line.sendall(" ".join(words).encode() + b"\n")
            with line.makefile("rb") as answers:
                text = answers.readline()
    except (FileNotFoundError, ConnectionRefusedError):
        raise ControlError(f"{directory}: no proxtopd runs there; start one with `proxtopd start`") from None
    except PermissionError:
        raise ControlError(f"{path}: no permission to control this fleet; be root, or of its control group") from None
    except TimeoutError:
        raise ControlError(f"{path}: proxtopd does not answer within {timeout:g} s") from None
    except OSError as error:
        raise ControlError(f"{path}: {error.strerror or error}") from None
    if not text:
        raise ControlError(f"{path}: proxtopd ended without an answer")
    answer: dict[str, Any] = json.loads(text)
    if "error" in answer:
        raise ControlError(str(answer["error"]))
    return answer
