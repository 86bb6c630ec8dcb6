"""MuJoCo's web viewer around an `Episode`: physics on this side, a panel of Surefoot's own in the browser."""

import contextlib
import functools
import logging
import time
from collections.abc import Callable, Iterator
from typing import Any

import mujoco
import numpy as np
from mujoco.studio import app, launch_thread, messages, plugin, sim, viewer_protocol, web_viewer
from mujoco.studio.dear_imgui import dear_imgui as imgui
from mujoco.studio.implot import implot
from mujoco.studio.web import web_server

from surefoot.errors import InputError, message_of
from surefoot.live.episode import Episode

_LAST = int(messages.Priority.INTERNAL) - 1
_MOST_BEHIND_S = 0.1
_REFRESH_EVERY_S = 1.0
_PUSH_S, _PUSH_WEIGHTS = 0.1, 1.0
_MOST_TERMS = 5  # in a plot, the largest on average
_MOST_SPEED_M_S, _MOST_TURN_RAD_S = 1.0, 1.0


class Driver(plugin.SimPlugin):
    """Steps the episode at the speed of the clock; obeys pause, speed, single steps and reset of the viewer."""

    def __init__(self, episode: Episode) -> None:
        self.episode = episode
        self.push_requested: tuple[float, float] | None = None  # direction forward and to the left
        self._paused, self._speed, self._single = False, 1.0, False
        self._due, self._next_look, self._push_left = 0.0, 0.0, 0

    @messages.handler
    def _on_control(self, event: messages.StepControlSnapshot) -> bool:
        self._paused = event.pause_state == sim.PauseState.NORMAL_PAUSED
        self._speed = max(event.speed, 0.1) / 100  # from percent
        self.handle.send_to_viewer(event)
        return True

    @messages.handler
    def _on_pause(self, event: messages.RequestPauseEvent) -> bool:
        self._paused = event.pause_state == sim.PauseState.NORMAL_PAUSED
        snapshot = messages.StepControlSnapshot(pause_state=event.pause_state, speed=100 * self._speed)
        self.handle.send_to_viewer(snapshot)
        return True

    @messages.handler
    def _on_single_step(self, event: messages.SingleStepEvent) -> bool:
        self._single = True
        return True

    @messages.handler
    def _on_reset(self, event: messages.ResetEvent) -> bool:
        self.episode.reset()
        return True

    @messages.handler
    def _on_load_model(self, event: messages.LoadModelEvent) -> bool:
        return True  # a file that somebody drops on the page is not opened

    @messages.handler
    def _on_step(self, event: messages.StepEvent) -> None:
        now = time.monotonic()
        if now >= self._next_look:
            self.episode.actor.refresh()
            self._next_look = now + _REFRESH_EVERY_S
        if not self._single and (self._paused or now < self._due):
            time.sleep(0.001)
            return
        # A machine that cannot keep up shows slow motion; it does not catch up by a jump.
        self._due = max(self._due + self.episode.seconds_per_action / self._speed, now - _MOST_BEHIND_S)
        self._single = False
        self._push()
        self.episode.step()

    def _push(self) -> None:
        if self.push_requested is not None:
            forward, left = self.push_requested
            model: mujoco.MjModel = self.episode.env.unwrapped.model  # pyrefly: ignore
            weight = float(model.body_subtreemass[0] * np.linalg.norm(model.opt.gravity))
            self.episode.push((_PUSH_WEIGHTS * weight * forward, _PUSH_WEIGHTS * weight * left, 0.0))
            self._push_left, self.push_requested = max(1, round(_PUSH_S / self.episode.seconds_per_action)), None
        elif self._push_left:
            self._push_left -= 1
            if not self._push_left:
                self.episode.push((0.0, 0.0, 0.0))


class Panel(plugin.ViewerPlugin):
    """A window with the episode's figures, commands, pushes, and plots of reward terms and torques."""

    def __init__(self, driver: Driver, title: str, trunk: str | None) -> None:
        self._driver, self._title, self._trunk = driver, title, trunk
        self._by_hand, self._command = False, [0.5, 0.0, 0.0]

    @messages.handler(priority=_LAST)
    def _on_model(self, event: messages.PostModelEvent) -> None:
        if self._trunk is None:
            return
        camera = self.viewer.camera
        camera.type = mujoco.mjtCamera.mjCAMERA_TRACKING
        camera.trackbodyid = event.model.body(self._trunk).id
        camera.distance, camera.azimuth, camera.elevation = 3.0, 135, -20

    @messages.handler(priority=_LAST)
    def _on_gui(self, event: messages.BuildGuiEvent) -> None:
        episode = self._driver.episode
        first = int(imgui.Cond.FirstUseEver)
        imgui.SetNextWindowPos(imgui.Vec2(225, 40), first)
        imgui.SetNextWindowSize(imgui.Vec2(330, 560), first)
        imgui.Begin("Surefoot")
        imgui.TextUnformatted(self._title)
        imgui.TextUnformatted(f"policy: {episode.actor.label}")
        imgui.TextUnformatted(f"episode {episode.number}, {episode.time_s:.1f} s, return {episode.total:,.1f}")
        imgui.TextUnformatted(f"falls: {episode.falls}")
        self._push_buttons()
        if episode.has_commands:
            self._command_sliders()
        self._plots()
        imgui.End()

    def _push_buttons(self) -> None:
        for number, (label, direction) in enumerate({"push left": (0.0, 1.0), "push right": (0.0, -1.0)}.items()):
            if number:
                imgui.SameLine()
            if imgui.Button(label):
                self._driver.push_requested = direction

    def _command_sliders(self) -> None:
        _, self._by_hand = imgui.Checkbox("commands by hand", self._by_hand)
        limits = _MOST_SPEED_M_S, _MOST_SPEED_M_S, _MOST_TURN_RAD_S
        labels = "forward, m/s", "left, m/s", "turn left, rad/s"
        for index, (label, limit) in enumerate(zip(labels, limits, strict=True)):
            _, self._command[index] = imgui.SliderFloat(label, self._command[index], -limit, limit)
        x, y, turn = self._command
        self._driver.episode.command = (x, y, turn) if self._by_hand else None

    def _plots(self) -> None:
        history = list(self._driver.episode.history)
        if len(history) < 2:
            return
        times = [time_s for time_s, _, _ in history]
        terms = {name: np.array([terms.get(name, 0.0) for _, terms, _ in history]) for name in history[-1][1]}
        largest = sorted(terms, key=lambda name: -np.abs(terms[name]).mean())[:_MOST_TERMS]
        _plot("reward terms", times, {name: terms[name] for name in largest}, 210)
        torques = np.array([torques for _, _, torques in history]).T
        if len(torques):
            _plot("torques, N m", times, {f"##{index}": row for index, row in enumerate(torques)}, 150)


def _plot(title: str, times: list[float], lines: dict[str, np.ndarray], height: int) -> None:
    """Draw lines over time; those whose names begin with ## have no legend."""
    named = not next(iter(lines), "##").startswith("##")
    implot.SetNextAxesToFit()
    if implot.BeginPlot(title, imgui.Vec2(-1, height), 0 if named else int(implot.Flags.NoLegend)):
        implot.SetupAxes("", "", int(implot.AxisFlags.NoLabel), int(implot.AxisFlags.NoLabel))
        implot.SetupLegend(int(implot.Location.South), int(implot.LegendFlags.Outside))
        for name, values in lines.items():
            implot.PlotLine(name, times, values.tolist())
        implot.EndPlot()


def run_viewer(
    episode: Episode,
    title: str,
    trunk: str | None,
    host: str,
    port: int = 0,
    started: Callable[[str], Any] = print,
) -> None:
    """Show an episode in the browser until the viewer is closed.

    Args:
        episode: an environment with a MuJoCo model.
        title: name of the run, for the panel.
        trunk: body that the camera follows; None: the camera stays.
        host: the interface to bind; every program on it can control the viewer.
        port: 0: the first free one from 8080.
        started: called with the address once the page can be opened.

    Raises:
        InputError: the port is taken, or the interface does not exist.
    """
    # The server reports every page that is closed.
    for name in ("WebServer", "asyncio"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    driver = Driver(episode)
    interface = app.App(app.Config(show_inspector=False, show_status_bar=False))
    plugins = [interface, Panel(driver, title, trunk)]
    config = viewer_protocol.ViewerConfig(gfx="web", title="Surefoot", http_port=port)
    announced = functools.partial(_announce, host, started)

    def show(endpoint: Any) -> None:
        with _bound_to(host, announced):
            viewer = web_viewer.WebViewer(config, endpoint, plugins=plugins)
        viewer_protocol.run_viewer_loop(viewer)

    env: Any = episode.env.unwrapped
    try:
        with launch_thread.launch_thread(show, sim_plugins=[driver]) as handle:
            handle.set_model(env.model, data=env.data)
            while handle.is_running():
                handle.sync()
    except (RuntimeError, OSError) as error:
        raise InputError(f"the live view cannot be shown: {message_of(error)}") from None


def _announce(host: str, started: Callable[[str], Any], bound: str, port: int) -> None:
    shown = f"[{host}]" if ":" in host else host
    started(f"http://{shown}:{port}/")


@contextlib.contextmanager
def _bound_to(host: str, announce: Callable[[str, int], None]) -> Iterator[None]:
    """Bind MuJoCo's viewer to one interface; version 4.0 binds all of them and has no option."""
    bind, banner = web_server.bind_public_socket, web_viewer._print_url_banner
    web_server.bind_public_socket = lambda _, port=0: bind(host, port)
    web_viewer._print_url_banner = announce
    try:
        yield
    finally:
        web_server.bind_public_socket, web_viewer._print_url_banner = bind, banner
