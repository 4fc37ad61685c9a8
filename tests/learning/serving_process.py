"""A serving process of the test of swaps: it asks the deployed model all the time, from threads and from an event loop.

It prints a JSON line whenever another run has answered, and one with its counts when its standard input ends.
"""

from __future__ import annotations

import asyncio
import json
import sys
import threading
import time
from collections import Counter

QUESTIONS = {"lost my card": "card", "how much are fees": "fees"}
_THREADS = 2

counts: Counter[str] = Counter()
failures: list[str] = []
stopping = threading.Event()
_lock = threading.Lock()
_newest = 0


def note(run_id: int, deployed_now: int | None) -> None:
    """Count an answer, and tell of a run when it has become the one that is held."""
    global _newest
    with _lock:
        counts[f"run {run_id}"] += 1
        if run_id == deployed_now and run_id != _newest:
            _newest = run_id
            print(json.dumps({"run": run_id, "at": time.time()}), flush=True)


def ask_from_a_thread() -> None:
    """As the stream worker does: a whole batch at once."""
    from django.db import connection

    from lepton_app.learning.serving import served

    holder = served("intent")
    while not stopping.is_set():
        try:
            at_work = holder.get()
            said = [one.labels[0] for one in at_work.model.predict_sync(list(QUESTIONS))]
            assert said == list(QUESTIONS.values()), said
            note(at_work.run_id, holder.key.run_id if holder.key is not None else None)
        except Exception as error:
            failures.append(repr(error))
        finally:
            connection.close()
        time.sleep(0.01)


async def ask_from_the_loop() -> None:
    """As a reply in the chat does: encode without blocking, then classify."""
    from intents import classifier
    from lepton_app.chat.threads import on_model_thread

    while not stopping.is_set():
        for question, label in QUESTIONS.items():
            try:
                model = await on_model_thread(classifier.current)()
                assert model is not None
                row = await model.encode(question)
                prediction = await on_model_thread(model.classify)(question, row)
                assert prediction.labels[0] == label, prediction
                counts["replies"] += 1
            except Exception as error:
                failures.append(repr(error))
        await asyncio.sleep(0.01)


def main() -> None:
    import django

    django.setup()
    from lepton_app.learning import serving

    watch = serving.watch()
    threads = [threading.Thread(target=ask_from_a_thread) for _ in range(_THREADS)]
    threads.append(threading.Thread(target=lambda: asyncio.run(ask_from_the_loop())))
    serving.served("intent").get()
    watch.start()
    for thread in threads:
        thread.start()
    sys.stdin.read()
    stopping.set()
    for thread in threads:
        thread.join()
    watch.stop()
    encoders = sum(thread.name.startswith("encoder") for thread in threading.enumerate())
    print(json.dumps({"counts": counts, "failures": failures[:5], "encoder_threads": encoders}), flush=True)


if __name__ == "__main__":
    main()
