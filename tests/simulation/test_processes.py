"""The engine of worker processes: equal to a plain loop, and robust to failures of workers and environments."""

import contextlib
import dataclasses
import functools
import gc
import os
import select
import signal
import subprocess
import sys
import textwrap
import warnings
from collections.abc import Iterator
from pathlib import Path

import gymnasium
import numpy as np
import pytest

from helpers import engines
from helpers.engines import ends
from helpers.messages import one_line
from surefoot.errors import EngineError
from surefoot.simulation.processes import ProcessesEngine
from surefoot.simulation.worker import STEP
from surefoot.tasks.catalogue import TaskInfo, find_task

SHORT = "SurefootTestShort-v0"
LIMIT = 7
SOURCE = '''
import os
import signal

import gymnasium
import numpy as np


class Short(gymnasium.Env):
    """Random observations; action[0] > 0.9 terminates; action[1] selects a failure."""

    observation_space = gymnasium.spaces.Box(-np.inf, np.inf, (3,), np.float64)
    action_space = gymnasium.spaces.Box(-1.0, 9.0, (2,), np.float64)

    def __init__(self, trouble=""):
        if trouble == "make":
            raise RuntimeError("cannot be built")
        self.trouble = trouble

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        if self.trouble == "reset":
            os.kill(os.getpid(), signal.SIGKILL)
        return self.np_random.normal(size=3), {}

    def step(self, action):
        assert action.dtype == np.float64
        if action[1] == 2.0:
            raise ValueError("knee\\nmissing")
        if action[1] == 3.0:
            os.kill(os.getpid(), signal.SIGSEGV)
        if action[1] == 4.0:
            signal.pause()
        if action[1] == 5.0:
            raise SystemExit(3)
        if action[1] == 6.0:
            return self.np_random.normal(size=3), 0.0, False, True, {"failure": "the solver diverged"}
        observation = self.np_random.normal(size=3) + action[0]
        return observation, float(self.np_random.normal()), action[0] > 0.9, False, {}


gymnasium.register("SurefootTestModule-v0", entry_point=Short, max_episode_steps=4)
'''


@pytest.fixture(autouse=True)
def own_environments(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A module of environments that only this test's import path holds."""
    (tmp_path / "surefoot_test_envs.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(tmp_path)
    gymnasium.register(SHORT, entry_point="surefoot_test_envs:Short", max_episode_steps=LIMIT)
    yield
    gymnasium.registry.pop(SHORT)
    gymnasium.registry.pop("SurefootTestModule-v0", None)
    sys.modules.pop("surefoot_test_envs", None)


engine_of = functools.partial(engines.engine_of, ProcessesEngine)


def no_action(engine: ProcessesEngine) -> np.ndarray:
    return np.zeros((engine.num_envs, 2), np.float32)


def wait_for_death(pid: int) -> None:
    """Return when a process, our child or not, has ended."""
    with contextlib.suppress(ProcessLookupError):
        file = os.pidfd_open(pid)
        watch = select.poll()
        watch.register(file, select.POLLIN)
        assert watch.poll(20_000), f"process {pid} lives on"
        os.close(file)


def kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
    wait_for_death(pid)


class PlainLoop:
    """The same environments, stepped one after the other in this process."""

    def __init__(self, info: TaskInfo, num_envs: int) -> None:
        self.envs = [gymnasium.make(info.id, **info.options) for _ in range(num_envs)]

    def begin(self, seed: int) -> np.ndarray:
        rows = []
        for i, env in enumerate(self.envs):
            observation, _ = env.reset(seed=seed + i)
            rows.append([*observation, 0.0, False, False])
        return np.array(rows, np.float32)

    def advance(self, action: np.ndarray, finished: np.ndarray, resting: np.ndarray | None = None) -> np.ndarray:
        rows = []
        for i, env in enumerate(self.envs):
            if finished[i]:
                observation, _ = env.reset()
                rows.append([*observation, 0.0, False, False])
            else:
                own = action[i].astype(env.action_space.dtype)
                observation, reward, terminated, truncated, _ = env.step(own)
                rows.append([*observation, reward, terminated, truncated])
        return np.array(rows, np.float32)


@pytest.mark.parametrize(
    "task, num_envs, workers, steps",
    [
        (SHORT, 5, 2, 60),
        ("Pendulum-v1", 3, 3, 450),
        ("Hopper-v5", 4, 2, 150),
        ("BipedalWalker-v3", 2, 2, 150),
    ],
)
@pytest.mark.parametrize("seed", [0, 12345])
def test_equals_a_plain_loop_step_by_step(task: str, num_envs: int, workers: int, steps: int, seed: int) -> None:
    info = find_task(task)
    random = np.random.default_rng(seed)
    loop = PlainLoop(info, num_envs)
    with engine_of(task, num_envs, workers) as engine:
        assert len(set(engine.pids)) == workers
        for _ in range(2):  # a second beginning with the same seed is the same again
            sim_output = engine.begin(seed)
            np.testing.assert_array_equal(sim_output, loop.begin(seed))
            episodes = 0
            for _ in range(steps):
                action = random.uniform(
                    info.action_low, np.minimum(info.action_high, 1.0), (num_envs, info.action_size)
                )
                action = action.astype(np.float32)
                finished = ends(sim_output)
                episodes += finished.sum()
                sim_output, previous = engine.advance(action, finished), sim_output
                np.testing.assert_array_equal(sim_output, loop.advance(action, finished))
                assert sim_output is not previous and not np.shares_memory(sim_output, previous)
            assert episodes >= (0 if task == "BipedalWalker-v3" else 2)


def test_is_a_gymnasium_vector_env_with_next_step_autoreset() -> None:
    with engine_of(SHORT, 3, 2) as engine:
        observation, _ = engine.reset(seed=4)
        assert observation.shape == (3, 3) and observation.dtype == np.float32
        loop = PlainLoop(find_task(SHORT), 3)
        sim_output = loop.begin(4)
        for step in range(1, 3 * LIMIT):
            action = np.zeros((3, 2), np.float32)
            action[1, 0] = float(step == 3)
            sim_output = loop.advance(action, ends(sim_output))
            observation, reward, terminated, truncated, _ = engine.step(action)
            np.testing.assert_array_equal(observation, sim_output[:, :3])
            np.testing.assert_array_equal(reward, sim_output[:, 3])
            np.testing.assert_array_equal(terminated, [False, step == 3, False])
            np.testing.assert_array_equal(truncated, sim_output[:, 5] > 0.5)


@pytest.mark.parametrize("workers, expected", [(1, 1), (3, 3), (9, 4), (0, min(4, len(os.sched_getaffinity(0))))])
def test_number_of_workers(workers: int, expected: int) -> None:
    with engine_of(SHORT, 4, workers) as engine:
        assert len(engine.pids) == expected
        assert engine.begin(0).shape == (4, 6)


def test_without_a_seed_every_reset_draws_a_new_one() -> None:
    with engine_of(SHORT, 2, 1) as engine:
        first, second = engine.begin(None), engine.begin(None)
        assert len(np.unique(np.concatenate([first, second])[:, 0])) == 4


def test_an_id_that_names_its_module_works() -> None:
    with engine_of("surefoot_test_envs:SurefootTestModule-v0", 2, 2) as engine:
        sim_output = engine.begin(0)
        for _ in range(4):
            assert not ends(sim_output).any()
            sim_output = engine.advance(no_action(engine), ends(sim_output))
        assert ends(sim_output).all()


def test_workers_do_not_load_jax() -> None:
    with engine_of(SHORT, 2, 2) as engine:
        engine.begin(0)
        for pid in engine.pids:
            maps = Path(f"/proc/{pid}/maps").read_text()
            assert "numpy" in maps and "jaxlib" not in maps
            assert b"OMP_NUM_THREADS=1" in Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")


@pytest.mark.parametrize("trouble, text", [(2.0, "ValueError: knee missing"), (5.0, "SystemExit: 3")])
def test_an_exception_reaches_the_user_with_its_traceback(trouble: float, text: str) -> None:
    with engine_of(SHORT, 5, 2) as engine:
        sim_output = engine.begin(0)
        action = no_action(engine)
        action[3, 1] = trouble
        with pytest.raises(EngineError) as caught:
            engine.advance(action, ends(sim_output))
        message = str(caught.value)
        assert message == f"task '{SHORT}' failed in environment 3: {text}"
        assert "surefoot_test_envs.py" in caught.value.details and "in step" in caught.value.details
        assert engine.closed
        with pytest.raises(EngineError, match="closed"):
            engine.begin(0)


def test_the_error_for_an_environment_that_cannot_be_made_has_the_cause() -> None:
    info = dataclasses.replace(find_task(SHORT), options={"trouble": "make"})
    with pytest.raises(EngineError, match=r"worker 0 \(environments 0 to 1\): RuntimeError: cannot be built") as caught:
        ProcessesEngine(info, 2, 1)
    assert "Traceback" in caught.value.details


def test_an_environment_of_another_shape_is_refused() -> None:
    info = dataclasses.replace(find_task(SHORT), observation_size=1)
    with pytest.raises(EngineError, match="shapes"):
        ProcessesEngine(info, 2, 1)


@pytest.mark.parametrize("how", ["killed between steps", "segmentation fault in a step"])
def test_a_dead_worker_is_replaced_and_its_episodes_are_truncated(how: str) -> None:
    with engine_of(SHORT, 5, 2) as engine:
        loop = PlainLoop(find_task(SHORT), 5)
        sim_output, plain = engine.begin(3), loop.begin(3)
        action = no_action(engine)
        action[3, 0] = 1.0  # env 3 terminates now, and is to be reset in the step in which its worker dies
        sim_output, plain = engine.advance(action, ends(sim_output)), loop.advance(action, ends(plain))
        before, finished = sim_output, ends(sim_output)
        assert finished.tolist() == [False, False, False, True, False]
        old, action = engine.pids, no_action(engine)
        if how == "killed between steps":
            kill(old[1])
            name = "SIGKILL"
        else:
            action[4, 1] = 3.0
            name = "SIGSEGV"
        with pytest.warns(RuntimeWarning, match=rf"worker 1 \(environments 2 to 4\) of task '{SHORT}'.*{name}"):
            sim_output = engine.advance(action, finished)
        action[4, 1] = 0.0
        plain = loop.advance(action, finished)
        np.testing.assert_array_equal(sim_output[:2], plain[:2])  # the other worker's environments are not affected
        np.testing.assert_array_equal(sim_output[[2, 4], :3], before[[2, 4], :3])
        np.testing.assert_array_equal(sim_output[[2, 4], 3:], [[0.0, 0.0, 1.0]] * 2)
        assert not np.array_equal(sim_output[3, :3], before[3, :3]) and not np.array_equal(
            sim_output[3, :3], plain[3, :3]
        )
        np.testing.assert_array_equal(sim_output[3, 3:], [0.0, 0.0, 0.0])
        assert engine.pids[0] == old[0] and engine.pids[1] != old[1]
        cut = sim_output
        sim_output, plain = engine.advance(action, ends(sim_output)), loop.advance(action, ends(plain))
        np.testing.assert_array_equal(sim_output[:2], plain[:2])
        np.testing.assert_array_equal(sim_output[[2, 4], 3:], np.zeros((2, 3)))
        assert len({*sim_output[[2, 4], 0], *cut[[2, 4], 0], *plain[[2, 4], 0]}) == 6  # new episodes, new numbers
        for _ in range(2 * LIMIT):
            sim_output, plain = engine.advance(action, ends(sim_output)), loop.advance(action, ends(plain))
            np.testing.assert_array_equal(sim_output[:2], plain[:2])


def test_every_replacement_has_another_reproducible_seed() -> None:
    rows = []
    for _ in range(2):
        with engine_of(SHORT, 1, 1) as engine:
            for _ in range(2):
                kill(engine.pids[0])
                with pytest.warns(RuntimeWarning, match="SIGKILL"):
                    rows.append(engine.begin(3)[0])
    assert not np.array_equal(rows[0], rows[1])
    np.testing.assert_array_equal(rows[:2], rows[2:])


def test_all_workers_at_once_are_replaced() -> None:
    with engine_of(SHORT, 4, 2) as engine:
        sim_output = engine.begin(0)
        for pid in engine.pids:
            kill(pid)
        with pytest.warns(RuntimeWarning) as warned:
            sim_output = engine.advance(no_action(engine), ends(sim_output))
        assert len(warned) == 2
        assert ends(sim_output).all()
        sim_output = engine.advance(no_action(engine), ends(sim_output))
        assert not ends(sim_output).any()


@pytest.mark.filterwarnings("ignore:worker:RuntimeWarning")
def test_the_fourth_death_without_progress_is_an_error() -> None:
    with engine_of(SHORT, 2, 2) as engine:
        sim_output = engine.begin(0)
        for death in range(4):
            kill(engine.pids[death % 2])
            if death < 3:
                sim_output = engine.advance(no_action(engine), ends(sim_output))
        with pytest.raises(EngineError, match="died 4 times with fewer than 100 steps") as caught:
            engine.advance(no_action(engine), ends(sim_output))
        one_line(caught.value, "worker 1 (environment 1)")
        for pid in engine.pids:
            wait_for_death(pid)


@pytest.mark.filterwarnings("ignore:worker:RuntimeWarning")
def test_deaths_with_progress_in_between_are_tolerated() -> None:
    with engine_of(SHORT, 2, 2) as engine:
        sim_output = engine.begin(0)
        for death in range(6):
            kill(engine.pids[0])
            for _ in range(100 if death % 3 == 2 else 1):
                sim_output = engine.advance(no_action(engine), ends(sim_output))
        assert sim_output.shape == (2, 6)


@pytest.mark.filterwarnings("ignore:worker:RuntimeWarning")
def test_an_environment_that_always_kills_its_worker_ends_in_an_error() -> None:
    info = dataclasses.replace(find_task(SHORT), options={"trouble": "reset"})
    with engine_of(info, 2, 1) as engine, pytest.raises(EngineError, match="died 4 times"):
        engine.begin(0)


def test_failures_of_the_simulator_are_counted_and_warnings_get_rarer() -> None:
    with engine_of(SHORT, 4, 2) as engine:
        sim_output = engine.begin(0)
        action = no_action(engine)
        action[[0, 3], 1] = 6.0
        messages: list[str] = []
        for _ in range(11):  # episodes are cut in every second step
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                sim_output = engine.advance(action, ends(sim_output))
            messages += [str(warning.message) for warning in caught]
        assert engine.cut_episodes == 12
    assert messages == [
        f"environment 0 of task '{SHORT}': the solver diverged; its episode was cut",
        f"environment 3 of task '{SHORT}': the solver diverged; its episode was cut (10 so far)",
    ]


def test_the_error_for_a_hanging_worker_names_it() -> None:
    with engine_of(SHORT, 4, 2) as engine:
        sim_output = engine.begin(0)
        engine._timeout_s = 2.0  # for the step only: a start may take longer on a busy machine
        action = no_action(engine)
        action[0, 1] = 4.0
        pids = engine.pids
        with pytest.raises(EngineError, match=r"^worker 0 \(environments 0 to 1\) of task .* 2 seconds"):
            engine.advance(action, ends(sim_output))
        for pid in pids:
            wait_for_death(pid)


def test_workers_ignore_interrupt_and_termination_signals() -> None:
    with engine_of(SHORT, 2, 2) as engine:
        pids = engine.pids
        for pid in pids:
            os.kill(pid, signal.SIGINT)
            os.kill(pid, signal.SIGTERM)
        sim_output = engine.begin(0)
        engine.advance(no_action(engine), ends(sim_output))
        assert engine.pids == pids


def test_an_interrupt_closes_the_engine(monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_) -> None:
        raise KeyboardInterrupt

    with engine_of(SHORT, 2, 2) as engine:
        sim_output = engine.begin(0)
        monkeypatch.setattr(engine, "_collect", interrupted)
        with pytest.raises(KeyboardInterrupt):
            engine.advance(no_action(engine), ends(sim_output))
        with pytest.raises(EngineError, match="closed"):
            engine.advance(no_action(engine), ends(sim_output))


@pytest.mark.parametrize("dead", [False, True])
def test_close_ends_processes_and_closes_files(dead: bool) -> None:
    gc.collect()
    files = set(os.listdir("/proc/self/fd"))
    engine = ProcessesEngine(find_task(SHORT), 4, 2)
    pids = engine.pids
    engine.begin(0)
    assert "memfd:surefoot" in Path("/proc/self/maps").read_text()
    if dead:
        kill(pids[0])
    engine.close()
    engine.close()
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()  # ended, and waited for
    gc.collect()
    assert set(os.listdir("/proc/self/fd")) == files
    assert "memfd:surefoot" not in Path("/proc/self/maps").read_text()


def test_a_garbage_collected_engine_stops_its_workers() -> None:
    engine = ProcessesEngine(find_task(SHORT), 2, 2)
    pids = engine.pids
    del engine
    gc.collect()
    for pid in pids:
        assert not Path(f"/proc/{pid}").exists()


def test_close_does_not_wait_for_a_hanging_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("surefoot.simulation.processes.CLOSE_S", 0.5)
    engine = ProcessesEngine(find_task(SHORT), 2, 2)
    engine.begin(0)
    action = no_action(engine)
    action[0, 1] = 4.0
    engine._shared.command[:, :2] = action
    for handle in engine._handles:
        handle.send(STEP)
    engine.close()
    for pid in engine.pids:
        assert not Path(f"/proc/{pid}").exists()


SCRIPT = """
import os, signal, sys
import gymnasium, numpy as np
from surefoot.simulation.processes import ProcessesEngine
from surefoot.tasks.catalogue import find_task

class Own(gymnasium.Env):
    observation_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)
    action_space = gymnasium.spaces.Box(-1.0, 1.0, (1,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        return np.zeros(1, np.float32), {}

    def step(self, action):
        if action[0] == 0.5:
            os.write(1, b"hanging\\n")  # at once, unlike print without buffers
            signal.pause()
        return action, 1.0, False, False, {}

gymnasium.register("Own-v0", entry_point=ENTRY)
engine = ProcessesEngine(find_task("Own-v0"), 2, 2)
engine.begin(0)
sim_output = engine.advance(np.array([[0.25], [-0.25]], np.float32), np.zeros(2, bool))
print(*engine.pids, *sim_output[:, 0], flush=True)
ACTION
"""


@pytest.mark.parametrize(
    "entry, action",
    [
        ("Own", "os.kill(os.getpid(), signal.SIGKILL)"),
        ("'__main__:Own'", "engine.advance(np.full((2, 1), 0.5, np.float32), np.zeros(2, bool))"),
        ("Own", "pass"),
    ],
    ids=["killed", "killed in a hanging step", "runs out"],
)
def test_workers_of_a_plain_script_end_with_it(tmp_path: Path, entry: str, action: str) -> None:
    """The script has no `if __name__ == "__main__"` and defines its own environment."""
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT).replace("ENTRY", entry).replace("ACTION", action))
    path = os.pathsep.join(sys.path)
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, "JAX_PLATFORMS": "cpu"},
    )
    assert process.stdout is not None and process.stderr is not None
    first = process.stdout.readline().split()
    assert first[2:] == ["0.25", "-0.25"], process.stderr.read()
    pids = [int(text) for text in first[:2]]
    if "advance" in action:
        assert process.stdout.readline() == "hanging\n"
        process.kill()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == (0 if action == "pass" else -signal.SIGKILL)
    for pid in pids:
        wait_for_death(pid)
    assert "Traceback" not in errors


def test_ctrl_c_at_the_terminal_prints_no_traceback_of_a_worker(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    hang = "engine.advance(np.full((2, 1), 0.5, np.float32), np.zeros(2, bool))"
    body = f"import surefoot.simulation.processes as h\nh.CLOSE_S = 0.2\n{hang}"
    script.write_text(textwrap.dedent(SCRIPT).replace("ENTRY", "Own").replace("ACTION", body))
    process = subprocess.Popen(
        [sys.executable, str(script)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "JAX_PLATFORMS": "cpu"},
        process_group=0,
    )
    assert process.stdout is not None
    pids = [int(text) for text in process.stdout.readline().split()[:2]]
    assert process.stdout.readline() == "hanging\n"
    for _ in range(3):  # Python loses an interrupt that strikes within a finaliser; a person then presses again
        os.killpg(process.pid, signal.SIGINT)
        try:
            _, errors = process.communicate(timeout=60)
            break
        except subprocess.TimeoutExpired:
            continue
    assert process.returncode is not None
    assert errors.count("Traceback") == 1 and errors.rstrip().endswith("KeyboardInterrupt")
    for pid in pids:
        wait_for_death(pid)
