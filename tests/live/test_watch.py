"""The live view in the browser: a page of frames, MuJoCo's web viewer, and the command."""

import contextlib
import http.client
import importlib.util
import json
import socket
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import surefoot
from surefoot.cli.main import main
from surefoot.errors import InputError
from surefoot.live import frames, watch
from surefoot.live.episode import Episode, FixedActor, SteadyActor
from surefoot.tasks.catalogue import find_task

RESULTS = Path(__file__).parents[2] / "results"
needs_viewer = pytest.mark.skipif(importlib.util.find_spec("websockets") is None, reason="websockets is not installed")


class Walker:
    """Stands in for an environment that renders without a window."""

    def __init__(self) -> None:
        info = find_task("bipedal-walker")
        self.episode = Episode(info, FixedActor("random", info), render_mode="rgb_array")
        self.frames = 0
        self.episode.env.render = self.render  # pyrefly: ignore

    def render(self) -> np.ndarray:
        self.frames += 1
        return np.full((40, 60, 3), min(self.frames, 255), np.uint8)


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]


def ask(port: int, method: str, path: str, **headers: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, headers=headers)
        response = connection.getresponse()
        return response.status, response.read(20_000 if path == "/frames" else None)


def test_the_page_of_frames_shows_new_frames_pauses_and_resets() -> None:
    walker, port, answers = Walker(), free_port(), {}

    def visit(address: str) -> None:
        def browse() -> None:
            answers["page"] = ask(port, "GET", "/")
            answers["stream"] = ask(port, "GET", "/frames")
            answers["refused"] = ask(port, "POST", "/pause")
            answers["pause"] = ask(port, "POST", "/pause", **{"X-Surefoot": "1"})
            answers["status"] = ask(port, "GET", "/status")
            answers["reset"] = ask(port, "POST", "/reset", **{"X-Surefoot": "1"})
            answers["unknown"] = ask(port, "GET", "/../../etc/passwd")
            done.set()

        answers["address"] = address
        threading.Thread(target=browse, daemon=True).start()

    done = threading.Event()
    original = walker.episode.step
    walker.episode.step = lambda: stop() if done.is_set() else original()  # pyrefly: ignore

    def stop() -> None:
        raise KeyboardInterrupt

    # Paused by the page, so that only the reset draws; the loop ends by its time.
    with contextlib.suppress(KeyboardInterrupt):
        frames.run_page(walker.episode, "walker", "127.0.0.1", port, visit, seconds=8)
    assert done.wait(20)
    assert answers["address"] == f"http://127.0.0.1:{port}/"
    assert answers["page"][0] == 200 and b"<title>Surefoot</title>" in answers["page"][1]
    assert answers["stream"][1].count(b"Content-Type: image/jpeg") >= 2
    assert [answers[name][0] for name in ("refused", "pause", "reset", "unknown")] == [403, 200, 200, 404]
    status: dict[str, Any] = json.loads(answers["status"][1])
    assert status["paused"] and status["policy"] == "random" and status["seconds"] > 0


def test_a_taken_port_is_met_by_one_line() -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(InputError, match=rf"cannot be shown on 127\.0\.0\.1, port {port}: "):
            frames.run_page(Walker().episode, "walker", "127.0.0.1", port)


@needs_viewer
def test_mujocos_viewer_is_bound_to_loopback_and_shows_a_robot_that_moves() -> None:
    from surefoot.live import viewer

    policy = surefoot.load(RESULTS / "anymal-velocity-ppo.safetensors")
    info = find_task(policy.task, policy.task_options)
    episode, port, seen = Episode(info, SteadyActor(policy)), free_port(), {}
    original = episode.step

    def step() -> None:
        original()
        if "address" in seen and episode.time_s > 0.2:
            if "page" not in seen:
                seen["page"] = ask(port, "GET", "/")
                with socket.socket() as other:
                    other.settimeout(5)
                    seen["elsewhere"] = other.connect_ex((outside(), port)) if outside() else 1
            raise KeyboardInterrupt

    episode.step = step  # pyrefly: ignore
    with pytest.raises(KeyboardInterrupt):
        viewer.run_viewer(episode, "robot", "base", "127.0.0.1", port, lambda address: seen.update(address=address))
    assert seen["address"] == f"http://127.0.0.1:{port}/"
    assert seen["page"][0] == 200 and b"<html" in seen["page"][1]
    assert seen["elsewhere"] != 0
    assert len(episode.history) > 5


def outside() -> str | None:
    """An address of this machine other than loopback, None if it has none."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe, contextlib.suppress(OSError):
        probe.connect(("192.0.2.1", 9))  # sends nothing
        address = probe.getsockname()[0]
        return None if address.startswith("127.") else address
    return None


@needs_viewer
def test_pause_speed_steps_reset_and_pushes_of_the_viewer_are_obeyed() -> None:
    from mujoco.studio import messages, sim

    from surefoot.live.viewer import Driver

    policy = surefoot.load(RESULTS / "anymal-velocity-ppo.safetensors")
    episode = Episode(find_task(policy.task, policy.task_options), SteadyActor(policy))
    driver, sent = Driver(episode), []
    driver.handle = type("Handle", (), {"send_to_viewer": staticmethod(sent.append)})()  # pyrefly: ignore
    step: Any = None
    driver._on_step(step)
    assert len(episode.history) == 1
    driver._on_pause(messages.RequestPauseEvent(sim.PauseState.NORMAL_PAUSED))
    driver._due = 0
    driver._on_step(step)
    assert len(episode.history) == 1 and sent[-1].pause_state == sim.PauseState.NORMAL_PAUSED
    driver._on_single_step(messages.SingleStepEvent())
    driver.push_requested = (0.0, 1.0)
    driver._on_step(step)
    driver._on_step(step)
    assert len(episode.history) == 2
    data: Any = episode.env.unwrapped
    assert data.data.body("base").xfrc_applied[1] > 300  # the weight, N
    driver._on_control(messages.StepControlSnapshot(pause_state=sim.PauseState.UNPAUSED, speed=1e6))
    for _ in range(8):
        driver._due = 0
        driver._on_step(step)
    assert len(episode.history) == 10 and not data.data.body("base").xfrc_applied.any()
    assert driver._on_load_model(messages.LoadModelEvent(path="/etc/passwd"))
    driver._on_reset(messages.ResetEvent())
    assert episode.number == 2 and not episode.history


def test_runs_policies_and_tasks_are_watched_and_wrong_input_is_met_by_one_line(monkeypatch, capsys) -> None:
    shown = []
    monkeypatch.setattr(watch, "watch", lambda info, actor, title, *rest: shown.append((info.name, actor.label, title)))
    assert main(["watch", str(RESULTS / "bipedal-walker-ars.safetensors")]) == 0
    assert main(["watch", "ant", "--policy", "random"]) == 0
    assert main(["watch", "Hopper-v5"]) == 0
    assert [row[0] for row in shown] == ["bipedal-walker", "ant", "Hopper-v5"]
    assert [row[1].partition(",")[0] for row in shown] == ["bipedal-walker-ars.safetensors", "random", "zero"]
    capsys.readouterr()
    for words in (["no-such-thing"], ["ant", "--policy", "best"], ["ant", "--port", "70000"]):
        assert main(["watch", *words]) in (1, 2)
        printed = capsys.readouterr()
        assert printed.out == "" and printed.err.count("\n") == 1
