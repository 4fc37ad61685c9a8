"""The holder of what is deployed: swaps, keeps the old one on failure, asks seldom, and is safe across threads."""

from __future__ import annotations

import logging
import threading
import time
import weakref
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from lepton_app.lib.deployed import Deployed, NotDeployed, Watch


@dataclass
class World:
    """What is live, what breaks, and how often it was asked and loaded."""

    key: str | None = "a"
    now: float = 0.0
    broken: set[str] = field(default_factory=set)
    asked: int = 0
    loaded: list[str] = field(default_factory=list)

    def current_key(self) -> str | None:
        self.asked += 1
        if self.key == "database down":
            raise ConnectionError("no route")
        return self.key

    def load(self, key: str) -> str:
        self.loaded.append(key)
        if key in self.broken:
            raise ValueError(f"{key} is corrupt")
        return key.upper()

    def deployed(self) -> Deployed[str, str]:
        return Deployed(self.current_key, self.load, name="thing", poll_seconds=1.0, clock=lambda: self.now)


def test_asks_at_most_once_in_a_second_and_swaps_after_it() -> None:
    world = World()
    deployed = world.deployed()
    assert [deployed.get() for _ in range(3)] == ["A", "A", "A"]
    world.key = "b"
    world.now = 0.9
    assert deployed.get() == "A"
    world.now = 1.0
    assert deployed.get() == "B"
    assert world.asked == 2
    assert world.loaded == ["a", "b"]
    assert deployed.key == "b"


def test_nothing_live_is_a_named_error() -> None:
    world = World(key=None)
    deployed = world.deployed()
    with pytest.raises(NotDeployed, match="No thing is deployed"):
        deployed.get()
    world.key, world.now = "a", 2.0
    assert deployed.get() == "A"


def test_a_failed_load_keeps_the_old_one_logs_and_backs_off(caplog: pytest.LogCaptureFixture) -> None:
    world = World(broken={"b"})
    deployed = world.deployed()
    deployed.get()
    world.key, world.now = "b", 1.0
    with caplog.at_level(logging.ERROR):
        assert deployed.get() == "A"
    assert "b could not be loaded (ValueError: b is corrupt); the one before keeps serving" in caplog.text
    assert isinstance(deployed.error, ValueError)
    world.now = 2.5  # polled again, but the same key is not tried before its pause is over
    assert deployed.get() == "A"
    assert world.loaded == ["a", "b"]
    world.now, world.broken = 3.6, set()
    assert deployed.get() == "B"
    assert deployed.error is None


def test_a_first_load_that_fails_names_the_reason() -> None:
    world = World(broken={"a"})
    with pytest.raises(NotDeployed, match="ValueError: a is corrupt"):
        world.deployed().get()


def test_a_database_that_is_down_leaves_the_old_one_serving() -> None:
    world = World()
    deployed = world.deployed()
    deployed.get()
    world.key, world.now = "database down", 5.0
    assert deployed.get() == "A"
    assert isinstance(deployed.error, ConnectionError)


def test_a_mark_taken_away_stops_serving() -> None:
    world = World()
    deployed = world.deployed()
    deployed.get()
    world.key, world.now = None, 5.0
    with pytest.raises(NotDeployed):
        deployed.get()


def test_other_threads_keep_the_old_object_while_one_loads() -> None:
    started, release = threading.Event(), threading.Event()
    key = ["a"]
    now = [0.0]

    def load(name: str) -> str:
        if name == "b":
            started.set()
            assert release.wait(10)
        return name

    deployed = Deployed(lambda: key[0], load, name="thing", clock=lambda: now[0])
    assert deployed.get() == "a"
    key[0], now[0] = "b", 2.0
    results: list[str] = []
    loader = threading.Thread(target=lambda: results.append(deployed.get()))
    loader.start()
    assert started.wait(10)
    now[0] = 4.0
    assert deployed.get() == "a"  # not blocked by the loader
    release.set()
    loader.join(10)
    assert results == ["b"]
    assert deployed.get() == "b"


def wait_until(holds: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not holds():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_state_says_what_serves_since_when_and_what_does_not() -> None:
    world = World(broken={"b"})
    deployed = world.deployed()
    assert (deployed.state.key, deployed.state.since, deployed.state.error) == (None, None, None)
    deployed.get()
    first = deployed.state
    assert (first.key, first.failed_key, first.error) == ("a", None, None)
    world.key, world.now = "b", 1.0
    deployed.get()
    second = deployed.state
    assert (second.key, second.since, second.failed_key) == ("a", first.since, "b")
    assert str(second.error) == "b is corrupt"
    world.key, world.now = "a", 2.0  # put back: the failure is no more
    deployed.get()
    assert deployed.state == first


def test_a_watch_swaps_what_nobody_asks_for_and_spares_the_callers() -> None:
    world = World()
    deployed = world.deployed()
    deployed.get()
    watch = Watch(lambda: [deployed], period_seconds=0.01)
    watch.start()
    try:
        world.key = "b"
        wait_until(lambda: deployed.key == "b")
    finally:
        watch.stop()
    asked = world.asked
    world.now, world.key = 0.03, "c"
    assert deployed.get() == "B"
    assert world.asked == asked
    world.now = 1.0  # the watch has not been heard of for longer than it may: the caller asks
    assert deployed.get() == "C"


def test_a_watch_goes_on_after_a_failure(caplog: pytest.LogCaptureFixture) -> None:
    world = World()
    deployed = world.deployed()
    looks = [0]

    def holders() -> list[Deployed[str, str]]:
        looks[0] += 1
        if looks[0] == 1:
            raise RuntimeError("no list today")
        return [deployed]

    watch = Watch(holders, period_seconds=0.01)
    watch.start()
    try:
        wait_until(lambda: deployed.key == "a")
    finally:
        watch.stop()
    assert "the watch missed a look" in caplog.text


def test_an_old_object_and_one_that_failed_to_load_are_freed_after_their_last_call() -> None:
    class Model:
        def __init__(self, name: str) -> None:
            self.name = name

    made: list[weakref.ref[Model]] = []
    key, now = ["a"], [0.0]

    def load(name: str) -> Model:
        model = Model(name)
        made.append(weakref.ref(model))
        if name == "broken":
            raise ValueError(f"{model.name} does not fit")
        return model

    deployed = Deployed(lambda: key[0], load, name="model", clock=lambda: now[0])
    in_flight: Model | None = deployed.get()
    key[0], now[0] = "broken", 1.0
    assert deployed.get() is in_flight
    assert made[1]() is None
    key[0], now[0] = "b", 2.0
    assert deployed.get().name == "b"
    assert in_flight is not None
    assert made[0]() is in_flight
    in_flight = None
    assert made[0]() is None
