"""A small client of chromedriver: the WebDriver protocol over urllib, no dependency."""

import base64
import json
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from contextlib import contextmanager

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
DRIVER = shutil.which("chromedriver")
FLAGS = (
    *("--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"),
    *("--disable-background-networking", "--disable-component-update", "--disable-sync"),
    *("--disable-dev-shm-usage", "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND"),
)


class Browser:
    """One headless window."""

    def __init__(self, port, *, user_data, width=1400, height=1000):
        self.base = f"http://127.0.0.1:{port}"
        options = {
            "binary": CHROMIUM,
            "args": [*FLAGS, f"--user-data-dir={user_data}", f"--window-size={width},{height}"],
        }
        capabilities = {"goog:chromeOptions": options, "goog:loggingPrefs": {"browser": "ALL"}}
        answer = self.send("/session", {"capabilities": {"alwaysMatch": capabilities}})
        self.base += f"/session/{answer['sessionId']}"

    def send(self, path, body=None, *, method="POST"):
        data = None if body is None else json.dumps(body).encode()
        request = urllib.request.Request(self.base + path, data=data, method=method)
        request.add_header("Content-Type", "application/json")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=60) as answer:
                return json.load(answer)["value"]
        except urllib.error.HTTPError as error:
            with error:
                raise RuntimeError(error.read().decode()[:500]) from None

    def open(self, path):
        self.send("/url", {"url": path.resolve().as_uri()})

    def run(self, script, *args):
        return self.send("/execute/sync", {"script": script, "args": list(args)})

    def wait(self, script):
        """Run a script that calls its last argument when done."""
        return self.send("/execute/async", {"script": script, "args": []})

    def log(self):
        return self.send("/se/log", {"type": "browser"})

    def command(self, name, **parameters):
        """Send a command of the DevTools protocol."""
        return self.send("/goog/cdp/execute", {"cmd": name, "params": parameters})

    def resize(self, width, height=1000):
        self.command(
            "Emulation.setDeviceMetricsOverride",
            width=width,
            height=height,
            deviceScaleFactor=1,
            mobile=False,
        )

    def screenshot(self, *, whole=True):
        answer = self.command("Page.captureScreenshot", captureBeyondViewport=whole)
        return base64.b64decode(answer["data"])


@contextmanager
def browser(folder, **size):
    """Start chromedriver and a window; end both."""
    port_line = None
    driver = subprocess.Popen([DRIVER, "--port=0"], stdout=subprocess.PIPE, text=True)
    try:
        for line in driver.stdout:
            if "started successfully on port" in line:
                port_line = line
                break
        port = int(port_line.rsplit(" ", 1)[1].strip().rstrip("."))
        for attempt in range(50):
            try:
                window = Browser(port, user_data=folder / "profile", **size)
                break
            except (urllib.error.URLError, ConnectionError):
                if attempt == 49:
                    raise
                time.sleep(0.2)
        try:
            yield window
        finally:
            window.send("", method="DELETE")
    finally:
        driver.terminate()
        driver.wait(20)
        driver.stdout.close()
