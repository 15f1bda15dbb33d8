"""Debian's Chromium, driven by its own driver through an incident."""

import os
import time
from base64 import b64decode
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path

from PIL import Image
from selenium.webdriver import Chrome, ChromeOptions
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.by import By

from tests.clients import debian

SIZES = {"desktop": (1000, 800), "phone": (390, 844)}
ARGUMENTS = (
    "--headless",
    "--no-sandbox",  # the tests run as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def started(profile: Path) -> Iterator[Chrome]:
    """A browser with a fresh profile."""
    debian.need("chromium", "chromedriver")
    options = ChromeOptions()
    options.binary_location = "/usr/bin/chromium"
    for argument in (*ARGUMENTS, f"--user-data-dir={profile}"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    driver = Chrome(options=options, service=Service("/usr/bin/chromedriver"))
    try:
        yield driver
    finally:
        driver.quit()


def incident(driver: Chrome, url: str, size: str, pictures: str = "", *, patience_s: float = 30) -> None:
    """What somebody does who was asleep a minute ago: open the link, start, approve, and watch it to its end.

    With `SCREENSHOTS=FOLDER` pictures of each page are written there, their names begin with `pictures`.
    """
    resize(driver, size)
    began = time.monotonic()
    driver.get(url)
    while not driver.find_elements(By.XPATH, button("Start replace-broker")):  # reasons against it may go away by themselves
        assert time.monotonic() - began < patience_s, text(driver)
        time.sleep(1)
        driver.get(url)
    is_sound(driver)
    picture(driver, f"{pictures}link-{size}")
    press(driver, "Start replace-broker")
    shows(driver, "It waits for you", patience_s)
    is_sound(driver)
    form = f"{button('Approve')}/ancestor::form"
    driver.find_element(By.XPATH, f"{form}//input[@name='reason']").send_keys("INC-4711, the node is gone")
    picture(driver, f"{pictures}gate-{size}")
    press(driver, "Approve")
    shows(driver, "copied so far", patience_s)
    picture(driver, f"{pictures}run-{size}")
    shows(driver, "approve by alice", patience_s)
    shows(driver, "Done", patience_s)
    is_sound(driver)
    picture(driver, f"{pictures}end-{size}")


def shows(driver: Chrome, words: str, seconds: float) -> None:
    """Wait until the page has the words, by htmx alone: it isn't loaded again from here."""
    began = time.monotonic()
    while words not in text(driver):
        assert time.monotonic() - began < seconds, f"no {words!r} on the page:\n{text(driver)}"
        time.sleep(0.1)


def text(driver: Chrome) -> str:
    return str(driver.execute_script("return document.body.innerText"))


def button(words: str) -> str:
    return f"//button[starts-with(normalize-space(), '{words}')]"


def press(driver: Chrome, words: str) -> None:
    found = driver.find_element(By.XPATH, button(words))
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", found)
    found.click()


def is_sound(driver: Chrome) -> None:
    """Nothing is wider than the screen, nothing was refused by the policy, and the script has come."""
    wide, htmx = driver.execute_script("return [document.documentElement.scrollWidth > window.innerWidth, typeof window.htmx]")
    assert not wide and htmx == "object"
    assert [line for line in driver.get_log("browser") if line["level"] == "SEVERE"] == []  # type: ignore[no-untyped-call]


def resize(driver: Chrome, size: str) -> None:
    """The size of the page, not of the window; on a phone dark, as at night."""
    width, height = SIZES[size]
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": size == "phone"}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)
    scheme = "dark" if size == "phone" else "light"
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": [{"name": "prefers-color-scheme", "value": scheme}]})


def picture(driver: Chrome, name: str) -> None:
    """The whole page, also what one has to scroll to, in few colours."""
    if folder := os.environ.get("SCREENSHOTS"):
        Path(folder).mkdir(parents=True, exist_ok=True)
        shot = driver.execute_cdp_cmd("Page.captureScreenshot", {"captureBeyondViewport": True})
        with Image.open(BytesIO(b64decode(shot["data"]))) as image:
            image.convert("RGB").quantize(64).save(Path(folder) / f"{name}.png", optimize=True)
