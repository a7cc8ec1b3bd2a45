"""A headless Chromium, driven by the W3C's WebDriver protocol, which chromedriver speaks: JSON over HTTP."""

import base64
import json
import re
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path

from conftest import PATIENCE

ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the key of an element's name, by the protocol
NEEDED = "tests/explore opens pages in a browser: install chromium and chromedriver (sh tests/explore/install.sh)"
QUIET = (  # no window, no sandbox, which containers forbid, and no word to anybody
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run", "--disable-sync"),
    *("--disable-quic", "--disable-background-networking", "--disable-component-update"),
)
ARROW_RIGHT = "\ue014"


class Browser:
    """One window. `directory`: where its profile goes; `size`: width and height of the page in pixels."""

    def __init__(self, directory: Path, size: tuple[int, int] = (1280, 800)):
        programs = [shutil.which(name) for name in ("chromium", "chromedriver")]
        assert all(programs), NEEDED
        chromium, driver = programs
        self._driver = subprocess.Popen(
            [driver, "--port=0"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        found = (re.search(r"successfully on port (\d+)", line) for line in self._driver.stdout)
        self._url = f"http://127.0.0.1:{next(one for one in found if one)[1]}"
        self._http = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        options = {"binary": chromium, "args": [*QUIET, f"--user-data-dir={directory}"]}
        wanted = {
            "browserName": "chrome",
            "goog:chromeOptions": options,
            "goog:loggingPrefs": {"browser": "ALL"},
        }
        session = self._ask("POST", "/session", {"capabilities": {"alwaysMatch": wanted}})
        self._url += f"/session/{session['sessionId']}"
        self.resize(*size)

    def resize(self, width: int, height: int) -> None:
        """Show pages as on a screen of this size."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": False}
        self._ask("POST", "/goog/cdp/execute", {"cmd": "Emulation.setDeviceMetricsOverride", "params": size})

    def open(self, path: Path, drawn: str = "window.payneflow && payneflow.verdict") -> None:
        """Open a page from its file, and wait until it has drawn, which the expression `drawn` says."""
        self._ask("POST", "/url", {"url": path.absolute().as_uri()})
        self.wait(drawn)

    def run(self, script: str, *arguments):
        """What a script returns."""
        return self._ask("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, condition: str) -> None:
        """Wait until an expression is true."""
        end = time.monotonic() + PATIENCE
        while not self.run(f"return Boolean({condition})"):
            assert time.monotonic() < end, f"waited in vain for {condition}: {self.said()}"
            time.sleep(0.02)

    def said(self) -> list[str]:
        """What the console says since this was asked last."""
        return [f"{one['level']}: {one['message']}" for one in self._ask("POST", "/se/log", {"type": "browser"})]

    def press(self, css: str, keys: str) -> None:
        """Type keys into the element that a CSS selector finds."""
        self._ask("POST", f"/element/{self._find(css)}/value", {"text": keys})

    def click(self, css: str) -> None:
        """Click the middle of an element, with the mouse."""
        self._ask("POST", f"/element/{self._find(css)}/click", {})

    def picture(self, path: Path) -> None:
        """Write what is to be seen (png)."""
        path.write_bytes(base64.b64decode(self._ask("GET", "/screenshot")))

    def close(self) -> None:
        try:
            self._ask("DELETE", "")
        finally:
            self._driver.terminate()
            self._driver.stdout.close()
            self._driver.wait(PATIENCE)

    def _find(self, css: str) -> str:
        return self._ask("POST", "/element", {"using": "css selector", "value": css})[ELEMENT]

    def _ask(self, method: str, path: str, body: dict | None = None):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self._url + path, data, {"Content-Type": "application/json"}, method=method)
        try:
            with self._http.open(request, timeout=PATIENCE) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise AssertionError(f"{method} {path}: {error.read().decode()[:2000]}") from None
