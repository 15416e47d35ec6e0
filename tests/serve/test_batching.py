"""The queue collects batches, limits the number of waiting images, and loses none when a consumer is replaced."""

import threading
import time

import pytest

pytest.importorskip("fastapi", reason="needs ppzoo[serve]")
from ppzoo.serve.batching import BatchQueue, QueueFullError


def running():
    return False


def test_a_full_batch_is_taken_without_waiting_in_order():
    queue = BatchQueue(10, 3, max_wait=1000)
    queue.put([1, 2, 3, 4])
    assert queue.take(running) == [1, 2, 3]
    assert len(queue) == 1


def test_a_partial_batch_is_taken_after_the_wait():
    times = iter([0.0, 0.5, 2.5, 2.5])
    queue = BatchQueue(10, 3, max_wait=0.01, clock=lambda: next(times))
    queue.put([1])
    assert queue.take(running) == [1]


def test_items_that_arrive_within_the_wait_join_the_batch():
    queue = BatchQueue(10, 3, max_wait=30)
    queue.put([1])
    batches = []
    consumer = threading.Thread(target=lambda: batches.append(queue.take(running)))
    consumer.start()
    queue.put([2])
    queue.put([3])
    consumer.join(20)
    assert batches == [[1, 2, 3]]


def test_a_request_that_does_not_fit_is_refused_as_a_whole():
    queue = BatchQueue(3, 2, max_wait=0)
    queue.put([1, 2])
    with pytest.raises(QueueFullError):
        queue.put([3, 4])
    queue.put([3])
    assert queue.take(running) + queue.take(running) == [1, 2, 3]


def test_a_stopped_consumer_leaves_the_items_for_the_next_one():
    queue = BatchQueue(10, 4, max_wait=1000)
    stop = threading.Event()
    batches = []
    first = threading.Thread(target=lambda: batches.append(queue.take(stop.is_set)))
    first.start()
    queue.put([1, 2])
    stop.set()
    queue.wake()
    first.join(20)
    assert batches == [[]]
    queue.put([3, 4])
    assert queue.take(running) == [1, 2, 3, 4]


def test_every_item_is_taken_once_by_several_consumers():
    queue = BatchQueue(10_000, 7, max_wait=0.0001)
    stop = threading.Event()
    taken = []

    def consume():
        while batch := queue.take(stop.is_set):
            taken.extend(batch)

    consumers = [threading.Thread(target=consume) for _ in range(3)]
    for consumer in consumers:
        consumer.start()
    for number in range(2000):
        queue.put([number])
    while len(queue):
        time.sleep(0.01)
    stop.set()
    queue.wake()
    for consumer in consumers:
        consumer.join(20)
    assert sorted(taken) == list(range(2000))


def test_clear_returns_what_waits():
    queue = BatchQueue(10, 4, max_wait=0)
    queue.put([1, 2])
    assert queue.clear() == [1, 2]
    assert len(queue) == 0
