"""Headless Chromium over its debugging pipe: JSON messages, each ended by a NUL, on descriptors 3 and 4."""

import json
import os
import select
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

TIMEOUT_S = 60
CHUNK_BYTES = 1 << 16


def find_chromium() -> str | None:
    """Return the program, if it is installed."""
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Chromium:
    """A browser without a window.

    Args:
        program: To run.
        profile: Folder for what it keeps.
    """

    def __init__(self, program: str, profile: Path) -> None:
        commands, self.commands = os.pipe()
        self.answers, answers = os.pipe()
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
        quiet = ["--disable-background-networking", "--disable-component-update", "--disable-extensions"]
        words = [program, *options, *quiet, f"--user-data-dir={profile}", "--remote-debugging-pipe"]
        # The shell moves the pipes to the descriptors that Chromium expects.
        moved = f'exec "$@" 3<&{commands} 4>&{answers}'
        self.process = subprocess.Popen(
            ["bash", "-c", moved, "bash", *words, "about:blank"],
            pass_fds=(commands, answers),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands)
        os.close(answers)
        self.received = b""
        self.number = 0
        self.events: list[dict[str, Any]] = []

    def close(self) -> None:
        """End the browser."""
        try:
            self.call("Browser.close")
            self.process.wait(TIMEOUT_S)
        finally:
            self.process.kill()
            self.process.wait()
            os.close(self.commands)
            os.close(self.answers)

    def call(self, method: str, session: str | None = None, **params: Any) -> dict[str, Any]:
        """Send a command and return its result; events that come meanwhile are kept."""
        self.number += 1
        message = {"id": self.number, "method": method, "params": params}
        message |= {"sessionId": session} if session else {}
        os.write(self.commands, json.dumps(message).encode() + b"\0")
        while True:
            answer = self._receive()
            if answer.get("id") != self.number:
                self.events.append(answer)
                continue
            assert "error" not in answer, f"{method}: {answer['error']}"
            return answer["result"]

    def wait_for(self, method: str, session: str) -> None:
        """Wait until an event has come."""
        while not any(e.get("method") == method and e.get("sessionId") == session for e in self.events):
            self.events.append(self._receive())

    def _receive(self) -> dict[str, Any]:
        end = time.monotonic() + TIMEOUT_S
        while b"\0" not in self.received:
            ready, _, _ = select.select([self.answers], [], [], max(0, end - time.monotonic()))
            assert ready, f"Chromium did not answer within {TIMEOUT_S} s"
            chunk = os.read(self.answers, CHUNK_BYTES)
            assert chunk, "Chromium has ended"
            self.received += chunk
        message, _, self.received = self.received.partition(b"\0")
        return json.loads(message)


class Tab:
    """A page in a browser, as a device shows it.

    Args:
        browser: Where it is opened.
        address: Of the page.
        size: Width and height in CSS pixels.
        scheme: `light` or `dark`.
    """

    def __init__(self, browser: Chromium, address: str, size: tuple[int, int], scheme: str) -> None:
        self.browser = browser
        target = browser.call("Target.createTarget", url="about:blank")["targetId"]
        attached = browser.call("Target.attachToTarget", targetId=target, flatten=True)
        self.target, self.session = target, attached["sessionId"]
        for domain in ("Page", "Network", "Runtime", "Log"):
            self.call(f"{domain}.enable")
        width, height = size
        self.call(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=width < 500,
        )
        self.call("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])
        self.call("Page.navigate", url=address)
        browser.wait_for("Page.loadEventFired", self.session)

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        """Send a command for this page."""
        return self.browser.call(method, self.session, **params)

    def evaluate(self, script: str) -> Any:
        """Return the value of a JavaScript expression."""
        found = self.call("Runtime.evaluate", expression=script, returnByValue=True, awaitPromise=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def requests(self) -> list[str]:
        """Return the addresses that the page has asked for."""
        return [found["request"]["url"] for found in self._events("Network.requestWillBeSent")]

    def errors(self) -> list[Any]:
        """Return what the page has complained about."""
        logged = [found["entry"] for found in self._events("Log.entryAdded")]
        said = [found for found in self._events("Runtime.consoleAPICalled") if found["type"] == "error"]
        bad = [entry for entry in logged if entry["level"] in ("error", "warning")]
        return [*bad, *said, *self._events("Runtime.exceptionThrown")]

    def close(self) -> None:
        """Close the page."""
        self.browser.call("Target.closeTarget", targetId=self.target)

    def _events(self, method: str) -> list[dict[str, Any]]:
        self.call("Runtime.evaluate", expression="0")  # Whatever was sent before its answer is here now.
        return [
            event["params"]
            for event in self.browser.events
            if event.get("method") == method and event.get("sessionId") == self.session
        ]
