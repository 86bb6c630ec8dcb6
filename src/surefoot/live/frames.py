"""A page of rendered frames around an `Episode`, for tasks that are not simulated by MuJoCo."""

import http.server
import io
import json
import threading
import time
from collections.abc import Callable
from importlib import resources
from typing import Any

import numpy as np
from PIL import Image

from surefoot.errors import InputError, message_of
from surefoot.live.episode import Episode

_MOST_FPS = 25.0
_REFRESH_EVERY_S = 1.0
_BOUNDARY = "frame"
_FIRST_PORT, _PORTS = 8080, 20


class Stage:
    """The newest frame and the controls of the page; written by the loop and by the server's threads."""

    def __init__(self) -> None:
        self.changed = threading.Condition()
        self.jpeg, self.number = b"", 0
        self.status: dict[str, Any] = {}
        self.paused, self.speed, self.reset, self.ended = False, 1.0, False, False

    def show(self, frame: np.ndarray, status: dict[str, Any]) -> None:
        """Publish a frame, (H, W, 3) uint8, and the figures beside it."""
        buffer = io.BytesIO()
        Image.fromarray(frame).save(buffer, "JPEG", quality=85)
        with self.changed:
            self.jpeg, self.number, self.status = buffer.getvalue(), self.number + 1, status
            self.changed.notify_all()

    def next(self, number: int) -> tuple[int, bytes]:
        """Wait at most a second for a frame after `number`; return the newest one's number and JPEG."""
        with self.changed:
            self.changed.wait_for(lambda: self.number != number or self.ended, timeout=1.0)
            return self.number, self.jpeg

    def end(self) -> None:
        """Release the threads that wait for a frame."""
        with self.changed:
            self.ended = True
            self.changed.notify_all()


def run_page(
    episode: Episode,
    title: str,
    host: str,
    port: int = 0,
    started: Callable[[str], Any] = print,
    seconds: float = np.inf,
) -> None:
    """Show an episode, whose environment renders RGB arrays, until the program is interrupted.

    Args:
        episode: the episode.
        title: name of the run, for the page.
        host: the interface to bind; every program on it can control the page.
        port: 0: the first free one from 8080.
        started: called with the address once the page can be opened.
        seconds: end after this time.

    Raises:
        InputError: the port is taken, the interface does not exist, or the environment does not render.
    """
    stage = Stage()
    _show(stage, episode, title)
    server = _make_server(stage, host, port)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    started(f"http://{host}:{server.server_address[1]}/")
    try:
        _play(stage, episode, title, time.monotonic() + seconds)
    finally:
        stage.end()
        server.shutdown()
        server.server_close()


def _play(stage: Stage, episode: Episode, title: str, end: float) -> None:
    due = next_frame = next_look = 0.0
    while (now := time.monotonic()) < end:
        if now >= next_look:
            episode.actor.refresh()
            next_look = now + _REFRESH_EVERY_S
        if stage.reset:
            stage.reset = False
            episode.reset()
        elif stage.paused or now < due:
            time.sleep(0.002)
            continue
        else:
            due = max(due + episode.seconds_per_action / stage.speed, now - 0.1)
            episode.step()
        if now >= next_frame:
            _show(stage, episode, title)
            next_frame = now + 1 / _MOST_FPS


def _show(stage: Stage, episode: Episode, title: str) -> None:
    frame: Any = episode.env.render()
    if not isinstance(frame, np.ndarray) or frame.ndim != 3:
        raise InputError(f"the task of '{title}' renders no pictures, so there is nothing to watch")
    terms = episode.history[-1][1] if episode.history else {}
    status = {
        "policy": episode.actor.label,
        "episode": episode.number,
        "seconds": round(episode.time_s, 2),
        "return": round(episode.total, 2),
        "falls": episode.falls,
    }
    stage.show(
        np.ascontiguousarray(frame[..., :3], np.uint8), status | {name: round(x, 4) for name, x in terms.items()}
    )


def _make_server(stage: Stage, host: str, port: int) -> http.server.ThreadingHTTPServer:
    page = resources.files("surefoot.live").joinpath("frames.html").read_bytes()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path == "/":
                self._send("text/html; charset=utf-8", page)
            elif self.path == "/status":
                self._send("application/json", json.dumps(stage.status | {"paused": stage.paused}).encode())
            elif self.path == "/frames":
                self._stream()
            else:
                self.send_error(404)

        def do_POST(self) -> None:
            # A page of another site cannot set this header.
            if self.headers.get("X-Surefoot") != "1":
                self.send_error(403)
                return
            if self.path == "/pause":
                stage.paused = not stage.paused
            elif self.path == "/reset":
                stage.reset = True
            elif self.path in ("/speed/1", "/speed/0.25"):
                stage.speed = float(self.path.rpartition("/")[2])
            else:
                self.send_error(404)
                return
            self._send("application/json", b"{}")

        def _stream(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", f"multipart/x-mixed-replace; boundary={_BOUNDARY}")
            self.end_headers()
            number = 0
            try:
                while not stage.ended:
                    number, jpeg = stage.next(number)
                    head = f"--{_BOUNDARY}\r\nContent-Type: image/jpeg\r\nContent-Length: {len(jpeg)}\r\n\r\n"
                    self.wfile.write(head.encode() + jpeg + b"\r\n")
            except OSError:
                pass  # the page was closed

        def _send(self, kind: str, body: bytes) -> None:
            self.send_response(200)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.send_header("Cache-Control", "no-store")
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    return _bind(host, port, Handler)


def _bind(host: str, port: int, handler: type[http.server.BaseHTTPRequestHandler]) -> http.server.ThreadingHTTPServer:
    """Return a server on the port, or on the first free one."""
    ports, reason = [port] if port else range(_FIRST_PORT, _FIRST_PORT + _PORTS), ""
    for candidate in ports:
        try:
            server = http.server.ThreadingHTTPServer((host, candidate), handler)
            server.daemon_threads = True
            return server
        except OSError as error:
            reason = message_of(error)
    raise InputError(f"the live view cannot be shown on {host}, port {ports[-1]}: {reason}")
