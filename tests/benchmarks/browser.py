"""A headless Chromium at the other end of a pipe: pages are opened, looked at and measured.

Chromium's DevTools protocol (https://chromedevtools.github.io/devtools-protocol/) over the pipe of
``--remote-debugging-pipe``: JSON messages that end in a zero byte, on file descriptors 3 and 4 of
the browser.  Nothing but the standard library is needed.
"""

from __future__ import annotations

import base64
import json
import os
import select
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
OPTIONS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--hide-scrollbars",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--disable-extensions", "--remote-debugging-pipe",
)  # fmt: skip
LIMIT_S = 60.0


def find() -> str | None:
    """Path of a Chromium; None where there is none."""
    return next((path for name in NAMES if (path := shutil.which(name)) is not None), None)


@dataclass
class Page:
    """One tab.  ``events``: all that the browser told unasked, console and network among it."""

    process: subprocess.Popen[bytes]
    inward: int
    outward: int
    session: str = ""
    number: int = 0
    rest: bytes = b""
    events: list[dict[str, Any]] = field(default_factory=list)

    def ask(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol and wait for its answer."""
        self.number += 1
        message: dict[str, Any] = {"id": self.number, "method": method, "params": parameters}
        if self.session:
            message["sessionId"] = self.session
        os.write(self.outward, json.dumps(message).encode() + b"\0")
        while True:
            told = self._next()
            if told.get("id") == self.number:
                assert "error" not in told, told["error"]
                return dict(told["result"])
            self.events.append(told)

    def evaluate(self, script: str) -> Any:
        """The value of a JavaScript expression in the page."""
        found = self.ask("Runtime.evaluate", expression=script, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def open(self, file: Path) -> None:
        """Load a file and wait until all of it is there."""
        self.events.clear()
        self.ask("Page.navigate", url=file.resolve().as_uri())
        while not any(one.get("method") == "Page.loadEventFired" for one in self.events):
            self.events.append(self._next())
        self.evaluate("document.fonts.ready.then(() => 1)")

    def resize(self, width: int, height: int, *, phone: bool = False, dark: bool = False) -> None:
        self.ask(
            "Emulation.setDeviceMetricsOverride",
            width=width, height=height, deviceScaleFactor=2 if phone else 1, mobile=phone,
        )  # fmt: skip
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.ask("Emulation.setEmulatedMedia", features=[scheme])

    def picture(self, file: Path) -> None:
        """The whole page as PNG."""
        found = self.ask("Page.captureScreenshot", captureBeyondViewport=True)
        file.write_bytes(base64.b64decode(found["data"]))

    def complaints(self) -> list[str]:
        """What the console was told, exceptions, violations of the page's own policy."""
        kinds = ("Log.entryAdded", "Runtime.consoleAPICalled", "Runtime.exceptionThrown")
        return [json.dumps(one) for one in self.events if one.get("method") in kinds]

    def requests(self) -> list[str]:
        """The address of everything that the page asked for."""
        return [
            one["params"]["request"]["url"]
            for one in self.events
            if one.get("method") == "Network.requestWillBeSent"
        ]

    def _next(self) -> dict[str, Any]:
        end = time.monotonic() + LIMIT_S
        while b"\0" not in self.rest:
            ready, _, _ = select.select([self.inward], [], [], max(end - time.monotonic(), 0))
            if not ready:
                raise TimeoutError(f"the browser said nothing for {LIMIT_S:.0f} s")
            told = os.read(self.inward, 1 << 16)
            if not told:
                raise ConnectionError("the browser is gone")
            self.rest += told
        message, _, self.rest = self.rest.partition(b"\0")
        return dict(json.loads(message))


@contextmanager
def browsing(program: str, profile: Path) -> Iterator[Page]:
    """A browser with one empty tab, its files in ``profile``; it ends with the body."""
    to_browser, outward = os.pipe()
    inward, from_browser = os.pipe()

    def connect() -> None:
        spare = os.dup(from_browser)  # 3 may be in use already
        os.dup2(to_browser, 3)
        os.dup2(spare, 4)

    process = subprocess.Popen(
        [program, *OPTIONS, f"--user-data-dir={profile}"],
        preexec_fn=connect,
        pass_fds=(3, 4),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    os.close(to_browser)
    os.close(from_browser)
    page = Page(process=process, inward=inward, outward=outward)
    try:
        target = page.ask("Target.createTarget", url="about:blank")["targetId"]
        attached = page.ask("Target.attachToTarget", targetId=target, flatten=True)
        page.session = attached["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network"):
            page.ask(f"{domain}.enable")
        yield page
    finally:
        process.terminate()
        process.wait()
        os.close(inward)
        os.close(outward)
