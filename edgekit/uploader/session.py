"""Requests and replies over a line that loses, damages, repeats and delays them."""

import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from edgekit.errors import (
    DeviceError,
    DowngradeError,
    EdgekitError,
    ImageError,
    LinkLostError,
    NoAnswerError,
    RevertedError,
    TooBigError,
    WrongGraphError,
    WrongKeyError,
    WrongTargetError,
)
from edgekit.uploader.link import Link
from edgekit.uploader.smp import READ, WRITE, Message, decode_message, line_bytes

OS_GROUP, IMAGE_GROUP, EDGEKIT_GROUP = 0, 1, 64
ECHO = 0
NOT_SUPPORTED = 8
PATIENCE_S = 15.0
"""How long a request is repeated before the device counts as gone."""
SLOW_PATIENCE_S = 60.0
"""The same where the device may erase flash meanwhile."""
LEAST_TIMEOUT_S = 0.05
MOST_TIMEOUT_S = 1.0
ROUND_TRIPS = 3
"""How many usual round trips a reply may take."""
BACKOFF = 1.5
_REPLY_BYTES = 64
_TURNAROUND_S = 0.005
_FIRST_PACE = 4.0
_SEQUENCES = 256
_MEANINGS = {
    1: "unknown error",
    2: "out of memory",
    3: "invalid value",
    4: "timeout",
    5: "not found",
    6: "not possible in this state",
    7: "reply too long",
    NOT_SUPPORTED: "not supported",
    9: "damaged request",
    10: "busy",
    11: "access denied",
}
_IMAGE_MEANINGS = {
    3: "no such image",
    8: "it holds no image of this hash",
    9: "no slot is free: an image is pending or on trial",
    10: "its flash could not be opened",
    11: "its flash could not be read",
    12: "its flash could not be written",
    13: "its flash could not be erased",
    14: "it has no such image or slot to update",
    20: "an offset that it does not take",
    21: "a length that it does not take",
    22: "the image's header is wrong",
    24: "a hash that it does not take",
    27: "it runs a version as new",
    28: "an image is pending or on trial",
    30: "the image is too big",
    31: "more data than the image's length",
    32: "nothing to confirm: the image was not tested",
    33: "the image runs already",
}
"""What MCUmgr's image group says, as far as a host can cause it."""
_REFUSAL_HINT = "run edgekit flash info: it shows what the device has and what is on trial"
_KINDS: dict[int, tuple[type[EdgekitError], str, str]] = {
    20: (ImageError, "the image is damaged or unsigned", "build and sign it again"),
    21: (WrongKeyError, "the image is signed by a key it does not trust", "sign it with the device's key"),
    22: (WrongTargetError, "the image is for another class of device", "build for this device"),
    23: (WrongGraphError, "the model does not fit the firmware", "flash the firmware of the same build"),
    24: (TooBigError, "the image is too big", "choose a smaller student"),
    25: (DowngradeError, "the image's security counter is too low", "sign it with a higher counter"),
    31: (DeviceError, "its flash failed", "try again; if it fails again, the flash is worn or broken"),
    32: (RevertedError, "it went back to the old image", "run edgekit flash info"),
}


class RefusalError(DeviceError):
    """A request that the device answered with an error of the protocol.

    Args:
        group: Whose error it is.
        code: Within the group.
    """

    def __init__(self, group: int, code: int) -> None:
        known = {OS_GROUP: _MEANINGS, IMAGE_GROUP: _IMAGE_MEANINGS}.get(group, {})
        meaning = known.get(code) or f"error {code} of group {group}"
        super().__init__(f"the device refuses: {meaning}", _REFUSAL_HINT)
        self.group = group
        self.code = code
        self.args = (group, code)


class Session:
    """Requests over a link, each repeated until it is answered.

    Every transmission has a sequence number of its own; a reply to any of them answers the request, and every
    other reply is stale. All requests may be repeated: none does more the second time.

    Args:
        link: The open port.

    Attributes:
        retries: How many transmissions went unanswered.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self.retries = 0
        self._answered = False
        self._sequence = secrets.randbelow(_SEQUENCES)
        # Round trips as multiples of what the line alone should take: raised and lowered step by step.
        self._pace = _FIRST_PACE
        self._expected_s = 0.0

    def read(
        self, group: int, command: int, body: Mapping[str, Any] | None = None, patience_s: float = PATIENCE_S
    ) -> dict[str, Any]:
        """Return the answer to a question.

        Raises:
            NoAnswerError: If nothing ever answers.
            LinkLostError: If the device answers no more.
            RefusalError: If it answers with an error; errors of edgekit's group have their own classes.
        """
        return self.exchange(READ, group, command, lambda _: body or {}, patience_s)

    def write(self, group: int, command: int, body: Mapping[str, Any] | None = None) -> dict[str, Any]:
        """Return the answer to an order; raises as `read` does."""
        return self.exchange(WRITE, group, command, lambda _: body or {})

    def exchange(
        self,
        op: int,
        group: int,
        command: int,
        body: Callable[[int], Mapping[str, Any]],
        patience_s: float = PATIENCE_S,
    ) -> dict[str, Any]:
        """Return the answer to a request; raises as `read` does.

        Args:
            op: READ or WRITE.
            group: Of the command.
            command: Within the group.
            body: Makes the body of a transmission from how many there were before: repeats may be shorter.
            patience_s: How long to repeat it.
        """
        until_s = time.monotonic() + patience_s
        sent: dict[int, float] = {}
        attempt = 0
        while time.monotonic() < until_s:
            sequence, timeout_s = self._send(op, group, command, body(attempt), sent)
            deadline_s = min(until_s, sent[sequence] + timeout_s * BACKOFF ** min(attempt, 8))
            if (reply := self._await(group, command, sent, deadline_s)) is not None:
                return _checked(reply)
            attempt += 1
            self.retries += 1
        raise self._silence(patience_s)

    def write_slowly(self, group: int, command: int, body: Mapping[str, Any]) -> dict[str, Any]:
        """Return the answer to an order that may keep the device busy for long; raises as `read` does.

        It is not repeated blindly, which would have the device do it twice. An echo is sent instead: once
        that is answered without the reply, the order or its reply was lost.
        """
        until_s = time.monotonic() + SLOW_PATIENCE_S
        while time.monotonic() < until_s:
            sent: dict[int, float] = {}
            sequence, timeout_s = self._send(WRITE, group, command, body, sent)
            reply = self._await(group, command, sent, sent[sequence] + timeout_s)
            if reply is None:
                self.retries += 1
                reply = self._probed(group, command, sent, until_s)
            if reply is not None:
                return _checked(reply)
        raise self._silence(SLOW_PATIENCE_S)

    def write_once(self, group: int, command: int) -> None:
        """Give an order that must not be repeated, and wait for its answer for a while.

        Raises:
            LinkLostError: If the port has gone.
        """
        sent: dict[int, float] = {}
        sequence, timeout_s = self._send(WRITE, group, command, {}, sent)
        self._await(group, command, sent, sent[sequence] + timeout_s)

    def _probed(self, group: int, command: int, sent: dict[int, float], until_s: float) -> Message | None:
        """Return a late reply; None once the device is found to wait for orders."""
        probes: dict[int, float] = {}
        wait_s = LEAST_TIMEOUT_S
        while (now_s := time.monotonic()) < until_s:
            self._send(WRITE, OS_GROUP, ECHO, {"d": ""}, probes)
            wait_s = min(wait_s * 2, MOST_TIMEOUT_S)
            deadline_s = min(until_s, now_s + wait_s)
            while (message := self._receive(deadline_s)) is not None:
                if _answers(message, group, command, sent):
                    return message
                if _answers(message, OS_GROUP, ECHO, probes):
                    return None
        return None

    def _send(
        self, op: int, group: int, command: int, body: Mapping[str, Any], sent: dict[int, float]
    ) -> tuple[int, float]:
        """Transmit once; return the sequence number and how long a reply may take."""
        self._sequence = (self._sequence + 1) % _SEQUENCES
        packet = Message(op, group, self._sequence, command, dict(body)).encoded()
        self._expected_s = self.link.line_s(line_bytes(len(packet)) + _REPLY_BYTES) + _TURNAROUND_S
        sent[self._sequence] = time.monotonic()
        self.link.send(packet)
        usual_s = ROUND_TRIPS * self._pace * self._expected_s
        most_s = max(MOST_TIMEOUT_S, ROUND_TRIPS * self._expected_s)
        return self._sequence, min(max(LEAST_TIMEOUT_S, usual_s), most_s)

    def _await(
        self, group: int, command: int, sent: Mapping[int, float], deadline_s: float
    ) -> Message | None:
        """Return the reply to one of the transmissions, None if there is none until the deadline."""
        while (message := self._receive(deadline_s)) is not None:
            if _answers(message, group, command, sent):
                self._learn((time.monotonic() - sent[message.sequence]) / self._expected_s)
                return message
        return None

    def _learn(self, pace: float) -> None:
        """Take in how long a round trip took.

        A reply whose newline was lost comes with the next one: a single late reply says little.
        """
        late = pace > self._pace
        self._pace = min(pace, self._pace * BACKOFF) if late else self._pace + (pace - self._pace) / 4

    def _receive(self, deadline_s: float) -> Message | None:
        while (packet := self.link.receive(deadline_s)) is not None:
            try:
                message = decode_message(packet)
            except ValueError:
                # The CRC misses one damaged packet in 65,536; it is as good as lost.
                continue
            self._answered = True
            return message
        return None

    def _silence(self, patience_s: float) -> EdgekitError:
        if self._answered:
            return LinkLostError(
                f"{self.link.path}: no answer for {patience_s:.0f} s",
                "check cable and supply, then run the same command again: it resumes",
            )
        return NoAnswerError(
            f"{self.link.path}: nothing answers at {self.link.baud} baud",
            "check cable, supply and --baud, or try another port: edgekit ports lists them",
        )


def _answers(message: Message, group: int, command: int, sent: Mapping[int, float]) -> bool:
    is_reply = message.op in (READ + 1, WRITE + 1)
    return is_reply and (message.group, message.command) == (group, command) and message.sequence in sent


def _checked(message: Message) -> dict[str, Any]:
    """Return the body of a reply.

    Raises:
        EdgekitError: If it is an error of either version of the protocol.
    """
    body = message.body
    error = body.get("err")
    # Beside other keys, "rc" is part of an answer.
    group, code = OS_GROUP, body.get("rc", 0) if body.keys() <= {"rc", "rsn"} else 0
    if isinstance(error, dict):
        group, code = error.get("group", message.group), error.get("rc", 0)
    if not isinstance(group, int) or not isinstance(code, int):
        raise DeviceError("the device's answer is no answer of SMP", "update its firmware")
    if code == 0:
        return body
    if group == EDGEKIT_GROUP and code in _KINDS:
        kind, what, hint = _KINDS[code]
        raise kind(f"the device refuses: {what}", hint)
    raise RefusalError(group, code)
