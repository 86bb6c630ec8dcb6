"""Training on a cluster: Ray's own local one of two nodes, and actors in this process for what needs no Ray."""

import contextlib
import dataclasses
import importlib.util
import os
import signal
import socket
import time
from collections.abc import Callable, Iterator
from typing import Any, ClassVar, NamedTuple

import jax
import numpy as np
import pytest

from helpers.counter import Counter
from helpers.messages import one_line
from helpers.progress import Watcher, interrupting
from helpers.recipes import make_recipe
from surefoot.algorithms.rollout import rollout_layout
from surefoot.api import train_recipe
from surefoot.errors import EngineError, InputError, NonFiniteError
from surefoot.policies.normaliser import init_normaliser
from surefoot.policies.policy import Controller
from surefoot.recipes.recipe import Recipe
from surefoot.runs.checkpoints import Checkpoints
from surefoot.runs.metrics import read_metrics
from surefoot.simulation import cluster
from surefoot.simulation.cluster import Actors, Result
from surefoot.simulation.factory import choose_engine, make_engine
from surefoot.tasks.catalogue import find_task
from surefoot.training import cluster_off_policy, cluster_random_search
from surefoot.training.cluster_off_policy import ClusterOffPolicyLearner
from surefoot.training.cluster_random_search import ClusterRandomSearchLearner
from surefoot.training.loop import resume

needs_ray = pytest.mark.skipif(bool(cluster.obstacle()), reason="Ray is not installed")


class TwoNodes(NamedTuple):
    """Ray's local cluster."""

    address: str
    client: str  # of Ray Client


@pytest.fixture(scope="module")
def nodes() -> Iterator[TwoNodes]:
    from ray.cluster_utils import Cluster

    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    small = {"num_cpus": 1, "object_store_memory": 80 * 2**20}
    head = small | {"include_dashboard": False}
    if importlib.util.find_spec("grpc"):
        head["ray_client_server_port"] = port
    cluster = Cluster(initialize_head=True, head_node_args=head)
    cluster.add_node(**small)
    if importlib.util.find_spec("grpc"):
        wait_for_server(port)
    yield TwoNodes(cluster.address, f"ray://127.0.0.1:{port}")
    cluster.shutdown()


def wait_for_server(port: int) -> None:
    """Wait until something listens at a port of this machine."""
    end = time.monotonic() + 60
    while time.monotonic() < end:
        with contextlib.suppress(OSError):
            return socket.create_connection(("127.0.0.1", port)).close()
        time.sleep(0.05)


def finished(actors: Actors, count: int) -> dict[int, Any]:
    """Wait for `count` results; return their values by actor."""
    values: dict[int, Any] = {}
    end = time.monotonic() + 60
    while len(values) < count and time.monotonic() < end:
        values |= {index: value for index, value, died in actors.results(1) if not died}
    return values


def wait_for_restart(actors: Actors) -> None:
    end = time.monotonic() + 60
    while 0 not in actors.idle and time.monotonic() < end:
        assert actors.results(1) == []


class Aborting:
    """A Ray Client's first message that fails for the first `times` times."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, times: int) -> None:
        pytest.importorskip("grpc", reason="Ray Client needs grpcio")
        from ray.util.client.worker import Worker

        self._original = Worker._server_init
        self.left = times
        monkeypatch.setattr(Worker, "_server_init", lambda *arguments: self.greet(*arguments))

    def greet(self, *arguments: Any) -> None:
        if self.left:
            self.left -= 1
            raise ConnectionAbortedError("Initialization failure from server")
        self._original(*arguments)


@needs_ray
def test_ray_client_is_the_same_code_and_tries_to_connect_again(nodes, monkeypatch):
    aborting = Aborting(monkeypatch, 1)
    actors = Actors(nodes.client, 1, Counter)
    assert aborting.left == 0
    actors.call(0, "add", 1, actors.share([2]))
    assert finished(actors, 1) == {0: 4}
    actors.close()


@needs_ray
def test_a_ray_client_that_fails_does_not_disturb_the_next_connection(nodes, monkeypatch):
    """The next connection is that of the tests below."""
    monkeypatch.setattr(cluster, "_PAUSES_S", (0.0, 0.0))
    aborting = Aborting(monkeypatch, 3)
    with pytest.raises(InputError, match=r"^engine\.address = 'ray://[0-9.:]+': ConnectionAbortedError: Init"):
        Actors(nodes.client, 1, Counter)
    assert aborting.left == 0


@pytest.fixture(scope="module")
def actors(nodes) -> Iterator[Actors]:
    """Two actors; the tests from here on use their connection. Ray replaces handlers of signals as it connects."""

    def own(number: int, frame: Any) -> None:
        raise AssertionError

    previous = signal.signal(signal.SIGTERM, own)
    actors = Actors(nodes.address, 2, Counter)
    assert signal.signal(signal.SIGTERM, previous) is own
    assert os.environ["RAY_USAGE_STATS_ENABLED"] == "0"
    yield actors
    actors.close()


@needs_ray
def test_actors_keep_their_objects_and_run_on_all_machines(actors):
    assert actors.idle == [0, 1] and actors.results(0.1) == []
    shared = actors.share([10, 20])
    for _ in range(2):
        actors.call(0, "add", 100, shared)
        assert actors.idle == [1]
        actors.call(1, "add", 200, shared)
        last = finished(actors, 2)
    assert last == {0: 132, 1: 232}
    for index in range(2):
        actors.call(index, "place")
    places = finished(actors, 2)
    assert [places[index][0] for index in range(2)] == actors.pids
    assert places[0][1] != places[1][1]


@needs_ray
def test_a_killed_actor_is_restarted_with_a_new_object_and_its_call_is_lost(actors):
    actors.call(0, "add", 0, [])
    finished(actors, 1)
    pid = actors.pids[0]
    actors.call(0, "sleep", 600)
    os.kill(pid, signal.SIGKILL)
    with pytest.warns(RuntimeWarning, match=rf"sampler 0 \(process {pid} on \S+\) died and was restarted"):
        (result,) = actors.results(60)
    assert result == (0, None, True)
    assert actors.idle == [1]
    wait_for_restart(actors)
    actors.call(0, "add", 0, [])
    assert finished(actors, 1) == {0: 1}
    assert actors.pids[0] not in (0, pid)


@needs_ray
def test_exceptions_and_warnings_of_an_actor_name_it(actors):
    actors.call(1, "fail", "none")
    with pytest.warns(RuntimeWarning, match=r"sampler 1 .*: a warning of the simulator"):
        finished(actors, 1)
    actors.call(1, "fail", "own")
    with pytest.warns(RuntimeWarning), pytest.raises(NonFiniteError, match=r"sampler 1 .*: reward 3 is nan") as caught:
        actors.results(60)
    assert caught.value.arrays == {"rewards": [1.0]} and caught.value.ahead == 7
    actors.call(1, "fail", "foreign")
    with (
        pytest.warns(RuntimeWarning),
        pytest.raises(EngineError, match=r"sampler 1 .*: ZeroDivisionError: by zero") as failed,
    ):
        actors.results(60)
    assert "Traceback" in failed.value.details


@needs_ray
def test_an_actor_that_dies_again_and_again_ends_the_run(actors, monkeypatch):
    monkeypatch.setattr(cluster, "_DEATHS_TOLERATED", 0)
    actors.call(0, "add", 0, [])
    finished(actors, 1)
    actors.call(0, "sleep", 600)
    os.kill(actors.pids[0], signal.SIGKILL)
    with pytest.raises(EngineError, match="died 1 times in a row"):
        actors.results(60)
    monkeypatch.undo()


@needs_ray
def test_a_lost_connection_is_one_line(actors, monkeypatch):
    def lose(*arguments: Any, **options: Any) -> None:
        raise ConnectionError("the channel is closed")

    wait_for_restart(actors)
    actors.call(1, "add", 0, [])
    monkeypatch.setattr(actors._ray, "wait", lose)
    with pytest.raises(EngineError) as caught:
        actors.results(60)
    one_line(caught.value, "the connection to the Ray cluster", "is lost (ConnectionError: the channel is closed)")
    monkeypatch.undo()
    finished(actors, 1)


@needs_ray
@pytest.mark.parametrize("address", ["127.0.0.1:{port}", "ray://127.0.0.1:{port}", "nowhere.invalid:6379"])
def test_an_address_without_a_cluster_is_one_line_at_once(address):
    if "ray://" in address:
        pytest.importorskip("grpc", reason="Ray Client needs grpcio")
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = address.format(port=free.getsockname()[1])
    with pytest.raises(InputError, match="no Ray cluster can be reached there") as caught:
        Actors(address, 1, Counter)
    assert address in one_line(caught.value)


def test_without_ray_the_message_says_how_to_install_it(monkeypatch):
    monkeypatch.setattr(cluster.importlib.util, "find_spec", lambda name: None)
    info = find_task("Pendulum-v1")
    with pytest.raises(InputError, match=r'Ray is not installed; pip install "surefoot\[ray\]"'):
        choose_engine("cluster", info)
    with pytest.raises(InputError, match="Ray is not installed"):
        Actors("local", 1, Counter)


@needs_ray
def test_the_cluster_is_no_vector_environment():
    with pytest.raises(InputError, match="engine 'cluster' is for training only"):
        make_engine("cluster", find_task("Pendulum-v1"), 2)


OFF_POLICY: dict[str, Any] = {
    "engine.name": "cluster",
    "training.mode": "asynchronous",
    "training.samplers": 2,
    "engine.num_envs": 4,
    "ddpg.learning_starts": 100,
    "ddpg.batch_size": 8,
    "ddpg.utd_ratio": 0.5,
    "ddpg.exploration.parameter_noise": 0.5,
    "policy.actor": [8],
    "policy.critic": [8],
    "policy.normalise_observations": True,
    "training.evaluation_episodes": 1,
    "training.checkpoint_every_s": 0,
}
SEARCH: dict[str, Any] = {
    "engine.name": "cluster",
    "ars.directions": 4,
    "ars.rollout_length": 30,
    "training.evaluation_episodes": 1,
    "training.checkpoint_every_s": 0,
}


class LocalActors:
    """Actors in this process: a call runs when its result is asked for; calls whose numbers are in `lost` are lost."""

    lost: ClassVar[set[int]] = set()

    def __init__(self, address: str, count: int, make: Callable[[], Any]) -> None:
        self._make = make
        self._objects = [make() for _ in range(count)]
        self._calls: dict[int, tuple[str, tuple[Any, ...]]] = {}
        self._number = 0

    @property
    def idle(self) -> list[int]:
        return [index for index in range(len(self._objects)) if index not in self._calls]

    def share(self, value: Any) -> Any:
        return value

    def call(self, index: int, method: str, *arguments: Any) -> None:
        self._calls[index] = method, arguments

    def results(self, timeout_s: float) -> list[Result]:
        index = next(iter(self._calls))
        method, arguments = self._calls.pop(index)
        self._number += 1
        if self._number in self.lost:
            self._objects[index] = self._make()
            return [Result(index, None, True)]
        return [Result(index, getattr(self._objects[index], method)(*arguments), False)]

    def close(self) -> None:
        pass


@pytest.fixture
def local(monkeypatch: pytest.MonkeyPatch) -> type[LocalActors]:
    """A cluster without Ray."""
    monkeypatch.setattr(cluster, "obstacle", lambda: "")
    for module in (cluster_off_policy, cluster_random_search):
        monkeypatch.setattr(module, "Actors", LocalActors)
    monkeypatch.setattr(LocalActors, "lost", set())
    return LocalActors


def episodes_of(rows: np.ndarray, size: tuple[int, int]) -> list[np.ndarray]:
    """Split a replay's rows (T, 1, K) at the ends of episodes."""
    layout = rollout_layout(*size)
    finished = layout.read(rows[:, 0], "terminated") | layout.read(rows[:, 0], "truncated")
    assert finished[-1]
    return np.split(rows[:, 0], np.flatnonzero(finished)[:-1] + 1)


def test_the_replay_holds_whole_episodes_and_the_ratio_of_updates_is_kept(local, monkeypatch):
    monkeypatch.setattr(cluster_off_policy, "STEPS_PER_ITERATION", 300)
    local.lost = {5}
    recipe = make_recipe("Hopper-v5", "ddpg", OFF_POLICY)
    info = find_task("Hopper-v5")
    learner = ClusterOffPolicyLearner(recipe, info, [])
    learner.start(7)
    updates, returns, count, steps = 0.0, 0.0, 0, 0
    for _ in range(3):
        values = learner.iterate(0.5)
        assert values is not None and learner.steps_per_iteration >= 300
        steps += learner.steps_per_iteration
        updates += values["updates"]
        returns += values["train/return"] * values["train/episodes"]
        count += int(values["train/episodes"])
    assert values["cluster/deaths"] == 1
    assert values["exploration/parameter_sigma"] != 0.05 and values["exploration/distance"] > 0
    state = learner.state()
    episodes = episodes_of(state["replay"]["rows"], (info.observation_size, info.action_size))
    layout = rollout_layout(info.observation_size, info.action_size)
    assert len(episodes) == count and sum(map(len, episodes)) == steps == values["replay/size"]
    for episode in episodes:
        assert layout.read(episode, "reward")[0] == 0
        assert np.abs(layout.read(episode, "observation")[0, :5]).max() < 1.3  # the standing pose
    assert sum(layout.read(episode, "reward").sum() for episode in episodes) == pytest.approx(returns, rel=1e-4)
    # The first observations differ: samplers have random numbers of their own, also after a death.
    assert len({episode[0].tobytes() for episode in episodes}) == count
    before = next(n for n in range(count) if sum(map(len, episodes[: n + 1])) > 100)
    due = 0.5 * sum(map(len, episodes[before:]))
    assert updates + float(state["samplers"][-1]["due"]) == pytest.approx(due)
    assert float(learner._state.normaliser.count) == steps // 256 * 256


def test_a_constant_scale_of_parameter_noise_needs_no_distance(local):
    learner = ClusterOffPolicyLearner(make_recipe("Pendulum-v1", "ddpg", OFF_POLICY), find_task("Pendulum-v1"), [])
    assert learner._distance_observations() is None  # the replay is empty
    learner._replay.restore({"rows": np.zeros((9, 1, rollout_layout(3, 1).size), np.float32)})
    observations = learner._distance_observations()
    assert observations is not None and observations.shape == (256, 3)
    constant = {"ddpg.exploration.adapt_parameter_sigma": False}
    learner._settings = make_recipe("Pendulum-v1", "ddpg", OFF_POLICY | constant).settings
    assert learner._distance_observations() is None


def test_a_task_without_a_time_limit_sends_pieces_of_an_episode(local, monkeypatch):
    monkeypatch.setattr(cluster_off_policy, "MAX_STEPS", 20)
    changes = {"task_options.max_episode_steps": 10**9}
    recipe = make_recipe("Pendulum-v1", "ddpg", OFF_POLICY | changes)
    monkeypatch.setattr(Recipe, "evaluation_task", lambda self: unlimited)
    unlimited = dataclasses.replace(find_task("Pendulum-v1", recipe.task_options), max_episode_steps=None)
    sampler = cluster_off_policy.EpisodeSampler(recipe)
    network = ClusterOffPolicyLearner(recipe, unlimited, []).policy().controller.network
    weights = cluster_off_policy.Weights(Controller(network, init_normaliser(3)), 0, 0.0, None)
    layout = rollout_layout(3, 1)
    one, other = (sampler.collect(weights, 0, 0, 0.1).transitions.rows for _ in range(2))
    assert one.shape == (2 * 21, 1, layout.size)  # of two environments
    for env in (0, 21):
        last, first = one[env + 20, 0], other[env, 0]
        assert layout.read(last, "truncated") and not layout.read(first, "truncated")
        np.testing.assert_array_equal(layout.read(last, "observation"), layout.read(first, "observation"))


def test_a_search_depends_on_neither_samplers_nor_deaths(local):
    """More samplers only round differently; some calls have fewer candidates than a sampler has environments."""
    runs = []
    for samplers, num_envs, lost in ((1, 10, set()), (3, 9, set()), (3, 9, {2, 6})):
        local.lost = lost
        changes = {"training.samplers": samplers, "engine.num_envs": num_envs, "ars.directions": 5}
        recipe = make_recipe("Hopper-v5", "ars", SEARCH | changes)
        learner = ClusterRandomSearchLearner(recipe, find_task("Hopper-v5"), [])
        learner.start(0)
        values = [learner.iterate(0.0) for _ in range(2)][-1]
        assert values is not None and values["cluster/deaths"] == len(lost)
        runs.append((values["train/return"], learner.state()["algorithm"]))
    (one, state), (more, other), (again, same) = runs
    assert one == pytest.approx(more, rel=1e-5) and more == again
    np.testing.assert_allclose(state.normaliser.variance, other.normaliser.variance, rtol=1e-4)
    assert float(state.normaliser.count) == float(other.normaliser.count) > 100
    jax.tree.map(np.testing.assert_array_equal, other, same)


def test_a_search_resumes_bit_for_bit(local, tmp_path):
    recipe = make_recipe(
        "Hopper-v5", "ars", SEARCH | {"training.samplers": 2, "engine.num_envs": 4, "training.steps": 900}
    )
    whole = train_recipe(recipe, "whole", tmp_path)
    cut = resume(train_recipe(recipe, "cut", tmp_path, interrupting(1)).folder)
    one, other = (Checkpoints(outcome.folder.checkpoints).latest() for outcome in (whole, cut))
    assert one[0] == other[0]
    for name, array in one[1].items():
        np.testing.assert_array_equal(array, other[1][name], err_msg=name)


@needs_ray
def test_a_run_goes_on_after_the_death_of_a_sampler_and_ends_well_on_sigterm(nodes, actors, tmp_path, monkeypatch):
    """On two nodes; then it resumes from its checkpoint."""
    made: list[Actors] = []

    def make(*arguments: Any) -> Actors:
        made.append(Actors(*arguments))
        return made[-1]

    monkeypatch.setattr(cluster_off_policy, "Actors", make)
    monkeypatch.setattr(cluster_off_policy, "STEPS_PER_ITERATION", 100)

    def after(iteration: int) -> None:
        if iteration == 2:
            os.kill(made[0].pids[0], signal.SIGKILL)
        if iteration > 2 and progress.warnings:
            os.kill(os.getpid(), signal.SIGTERM)

    progress = Watcher(after)
    recipe = make_recipe("Hopper-v5", "ddpg", OFF_POLICY | {"engine.address": nodes.address})
    outcome = train_recipe(recipe, "run", tmp_path, progress)
    assert outcome.reason == "interrupted"
    (warning,) = progress.warnings
    assert one_line(warning, "sampler 0 (process ", "died and was restarted; its episodes were dropped")
    rows = read_metrics(outcome.folder.metrics)
    deaths = [row["cluster/deaths"] for row in rows if "cluster/deaths" in row]
    assert deaths[0] == 0 and deaths[-1] == 1
    step, arrays, _ = Checkpoints(outcome.folder.checkpoints).latest()
    assert step == outcome.counters.steps == len(arrays["learner/replay/rows"]) > 200
    assert sorted(path.name for path in outcome.folder.policy.iterdir()) == ["last.safetensors"]


@pytest.mark.parametrize(
    "algorithm, changes, message",
    [
        ("ppo", {}, "engine.name = 'cluster' is not for 'ppo'; use ddpg, td3, sac or ars"),
        ("sac", {}, "engine.name = 'cluster' needs training.mode = 'asynchronous' with 'sac'"),
        ("ars", {"ars.statistics": "step"}, "ars.statistics = 'step' needs all environments in one process"),
        ("ars", {"training.samplers": 5}, "cannot be split equally among 5 samplers"),
        ("ars", {"engine.address": "my cluster"}, "engine.address"),
    ],
)
def test_settings_that_no_cluster_has_are_one_line(algorithm, changes, message):
    with pytest.raises(InputError) as caught:
        make_recipe("Pendulum-v1", algorithm, {"engine.name": "cluster", "engine.num_envs": 4} | changes)
    one_line(caught.value, message)
