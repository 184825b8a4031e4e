"""Requests over a link that does what the test says."""

import itertools
import pickle

import cbor2
import pytest

from edgekit.errors import (
    DeviceError,
    DowngradeError,
    ImageError,
    LinkLostError,
    NoAnswerError,
    RevertedError,
    TooBigError,
    WrongGraphError,
    WrongKeyError,
    WrongTargetError,
)
from edgekit.uploader import session as module
from edgekit.uploader.device import Device
from edgekit.uploader.session import RefusalError, Session
from edgekit.uploader.smp import READ, WRITE, Message, decode_message


class Clock:
    def __init__(self):
        self.now_s = 0.0

    def monotonic(self):
        return self.now_s


class Link:
    """Answers each transmission with the packets of `script`, each after its delay."""

    path, baud = "port", 115_200

    def __init__(self, clock):
        self.clock = clock
        self.sent = []
        self.coming = []
        self.script = lambda message, number: []

    def line_s(self, count):
        return count * 10 / self.baud

    def send(self, packet):
        message = decode_message(packet)
        self.sent.append((self.clock.now_s, message))
        for delay_s, answer in self.script(message, len(self.sent)):
            self.coming.append((self.clock.now_s + delay_s, answer))
        self.coming.sort(key=lambda pair: pair[0])

    def receive(self, deadline_s):
        if self.coming and self.coming[0][0] <= deadline_s:
            due_s, packet = self.coming.pop(0)
            self.clock.now_s = max(self.clock.now_s, due_s)
            return packet
        self.clock.now_s = max(self.clock.now_s, deadline_s)
        return None


@pytest.fixture
def link(monkeypatch):
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return Link(clock)


def reply(message, body=None, **changes):
    fields = {"op": message.op + 1, "group": message.group, "sequence": message.sequence}
    fields |= {"command": message.command, "body": body or {}} | changes
    return Message(**fields).encoded()


def answered(link):
    return [message.sequence for _, message in link.sent]


class TestReplies:
    def test_the_first_one(self, link):
        link.script = lambda m, n: [(0.01, reply(m, {"off": 7}))]
        assert Session(link).write(1, 1, {"off": 0}) == {"off": 7}
        assert [m.body for _, m in link.sent] == [{"off": 0}]

    def test_sequence_numbers_wrap(self, link):
        link.script = lambda m, n: [(0.001, reply(m))]
        session = Session(link)
        for _ in range(300):
            session.read(0, 6)
        numbers = answered(link)
        assert all((b - a) % 256 == 1 for a, b in itertools.pairwise(numbers))
        assert set(numbers) == set(range(256))

    @pytest.mark.parametrize(
        "changes",
        [{"sequence": 999}, {"group": 2}, {"command": 9}, {"op": WRITE}],
        ids=lambda changes: next(iter(changes)),
    )
    def test_of_others_are_ignored(self, link, changes):
        def script(m, n):
            wrong = changes if "sequence" not in changes else {"sequence": (m.sequence - 1) % 256}
            return [(0.001, reply(m, {"wrong": 1}, **wrong)), (0.002, reply(m, {"right": 1}))]

        link.script = script
        assert Session(link).write(1, 1) == {"right": 1}

    def test_nonsense_is_ignored(self, link):
        link.script = lambda m, n: [(0.001, b"\x03"), (0.002, reply(m)[:-1] + b"\xff"), (0.003, reply(m))]
        assert Session(link).write(1, 1) == {}

    def test_a_late_one_to_an_earlier_transmission_counts(self, link):
        link.script = lambda m, n: [(0.5, reply(m, {"n": n}))] if n == 1 else []
        session = Session(link)
        assert session.read(0, 6) == {"n": 1}
        assert len(link.sent) > 1
        assert session.retries == len(link.sent) - 1

    def test_a_stale_one_does_not_answer_the_next_request(self, link):
        def script(m, n):
            if n > 2 and link.clock.now_s < 0.5:
                return []
            return [({1: 0.5, 2: 0.4}.get(n, 0.2), reply(m, {"n": n}))]

        link.script = script
        session = Session(link)
        assert session.read(0, 6) == {"n": 1}
        begun = len(link.sent)
        assert session.read(0, 6)["n"] == begun + 1


class TestPatience:
    def test_lost_ones_are_sent_again(self, link):
        link.script = lambda m, n: [(0.01, reply(m))] if n == 4 else []
        session = Session(link)
        session.write(1, 1)
        assert (len(link.sent), session.retries) == (4, 3)
        waits = [b - a for (a, _), (b, _) in itertools.pairwise(link.sent)]
        assert waits == sorted(waits)
        assert waits[0] >= 0.05

    def test_timeouts_follow_the_round_trips(self, link):
        link.script = lambda m, n: [(0.001, reply(m))] if n % 2 or n < 40 else []
        session = Session(link)
        for _ in range(39):
            session.read(0, 6)
        session.read(0, 6)
        lost = [b - a for (a, _), (b, _) in itertools.pairwise(link.sent)][-1]
        assert lost == pytest.approx(0.05)

    def test_slow_devices_are_waited_for(self, link):
        link.script = lambda m, n: [(0.2, reply(m))]
        session = Session(link)
        for _ in range(10):
            session.read(0, 6)
        before = session.retries
        session.read(0, 6)
        assert session.retries == before

    def test_a_late_reply_does_not_slow_everything_down(self, link):
        def script(m, n):
            late = n >= 40 and link.clock.now_s < 0.9
            return [] if late and n > 40 else [(0.9 if late else 0.001, reply(m))]

        link.script = script
        session = Session(link)
        for _ in range(40):
            session.read(0, 6)
        assert len(link.sent) > 40
        assert module.ROUND_TRIPS * session._pace * session._expected_s < 0.1

    def test_nothing_ever(self, link):
        with pytest.raises(NoAnswerError, match="nothing answers at 115200 baud") as raised:
            Session(link).read(0, 6, patience_s=2)
        assert raised.value.exit_code == 13
        assert link.clock.now_s == pytest.approx(2)

    def test_nothing_any_more(self, link):
        link.script = lambda m, n: [(0.01, reply(m))] if n == 1 else []
        session = Session(link)
        session.read(0, 6)
        with pytest.raises(LinkLostError, match="no answer for 15 s") as raised:
            session.read(0, 6)
        assert raised.value.exit_code == 14

    def test_repeats_may_differ(self, link):
        link.script = lambda m, n: [(0.01, reply(m))] if n == 3 else []
        Session(link).exchange(WRITE, 1, 1, lambda attempt: {"attempt": attempt})
        assert [m.body["attempt"] for _, m in link.sent] == [0, 1, 2]


class TestSlowOrders:
    def erases(self, link):
        return [m for _, m in link.sent if m.group == 1]

    def test_are_given_once_however_long_they_take(self, link):
        # It answers the order after 12 s, then the echoes that came meanwhile.
        link.script = lambda m, n: [(12 - link.clock.now_s, reply(m))]
        assert Session(link).write_slowly(1, 5, {"slot": 1}) == {}
        assert len(self.erases(link)) == 1
        assert link.clock.now_s == pytest.approx(12)

    def test_are_given_again_soon_if_they_were_lost(self, link):
        def script(m, n):
            lost = m.group == 1 and len(self.erases(link)) == 1
            return [] if lost else [(0.01, reply(m))]

        link.script = script
        Session(link).write_slowly(1, 5, {"slot": 1})
        assert len(self.erases(link)) == 2
        assert link.clock.now_s < 1

    def test_are_given_up_in_the_end(self, link):
        with pytest.raises(NoAnswerError):
            Session(link).write_slowly(1, 5, {"slot": 1})
        assert link.clock.now_s == pytest.approx(60)
        assert len(link.sent) < 100


class TestOnce:
    def test_a_restart_is_ordered_once(self, link):
        link.script = lambda m, n: [(0.01, reply(m))] if m.command == 0 else []
        Device(Session(link)).restart()
        assert [m.command for _, m in link.sent] == [5, 0]

    def test_is_not_repeated(self, link):
        Session(link).write_once(0, 5)
        assert len(link.sent) == 1


class TestRefusals:
    @pytest.mark.parametrize(
        ("body", "group", "code", "what"),
        [
            ({"rc": 8}, 0, 8, "the device refuses: not supported"),
            ({"rc": 77}, 0, 77, "the device refuses: error 77 of group 0"),
            ({"err": {"group": 1, "rc": 33}}, 1, 33, "the device refuses: the image runs already"),
            ({"err": {"group": 1, "rc": 99}}, 1, 99, "the device refuses: error 99 of group 1"),
            ({"err": {"group": 64, "rc": 99}}, 64, 99, "the device refuses: error 99 of group 64"),
        ],
    )
    def test_of_both_versions(self, link, body, group, code, what):
        link.script = lambda m, n: [(0.01, reply(m, body))]
        with pytest.raises(RefusalError) as raised:
            Session(link).write(1, 1)
        assert (raised.value.group, raised.value.code, raised.value.what) == (group, code, what)
        assert raised.value.exit_code == 31

    @pytest.mark.parametrize("body", [{"rc": 0}, {"rc": 0, "off": 3}, {"err": {"group": 1, "rc": 0}}])
    def test_zero_is_none(self, link, body):
        link.script = lambda m, n: [(0.01, reply(m, body))]
        assert Session(link).write(1, 1) == body

    @pytest.mark.parametrize("body", [{"rc": "no"}, {"err": {"group": [], "rc": 2}}])
    def test_nonsense(self, link, body):
        link.script = lambda m, n: [(0.01, reply(m, body))]
        with pytest.raises(DeviceError, match="no answer of SMP"):
            Session(link).write(1, 1)

    @pytest.mark.parametrize(
        ("code", "kind"),
        [
            (20, ImageError),
            (21, WrongKeyError),
            (22, WrongTargetError),
            (23, WrongGraphError),
            (24, TooBigError),
            (25, DowngradeError),
            (31, DeviceError),
            (32, RevertedError),
        ],
    )
    def test_of_our_group_are_the_exit_codes(self, link, code, kind):
        link.script = lambda m, n: [(0.01, reply(m, {"err": {"group": 64, "rc": code}}))]
        with pytest.raises(kind) as raised:
            Session(link).write(1, 1)
        assert type(raised.value) is kind
        assert raised.value.exit_code == code

    def test_cross_processes(self):
        error = pickle.loads(pickle.dumps(RefusalError(1, 9)))
        assert (error.group, error.code) == (1, 9)


def test_requests_are_of_version_2():
    assert cbor2.loads(Message(READ, 0, 1, 6, {}).encoded()[8:]) == {}
    assert Message(READ, 0, 1, 6, {}).encoded()[0] == 0x08
