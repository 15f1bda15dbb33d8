"""What a process says by HTTP, once it does."""

import time
import urllib.request


def until_it_answers(url: str, text: str) -> str:
    deadline = time.monotonic() + 60
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        try:
            with opener.open(url, timeout=5) as answer:
                body: str = answer.read().decode()
                if text in body:
                    return body
        except OSError:
            pass
        assert time.monotonic() < deadline, f"{url} never says {text}"
        time.sleep(0.3)
