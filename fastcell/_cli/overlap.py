"""Reading and writing beside the work between them, each on a thread of its own and one batch off.

What is raised there is raised here, in its place. However the work ends, no thread is at a batch when these do.
"""

from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from typing import Any, TypeVar

Item = TypeVar("Item")
_END: Any = object()


@contextmanager
def ahead(items: Iterator[Item]) -> Iterator[Iterator[Item]]:
    """The items; while one is used, the next is made."""
    with _a_thread() as start:

        def made() -> Iterator[Item]:
            coming = start(next, items, _END)
            while (item := coming.result()) is not _END:
                coming = start(next, items, _END)
                yield item

        yield made()


@contextmanager
def behind(write: Callable[[Item], object]) -> Iterator[Callable[[Item], None]]:
    """`write`, which may be at work yet when it returns; it is not when the block ends."""
    with _a_thread() as start:
        going = start(int)

        def begin(item: Item) -> None:
            nonlocal going
            going.result()
            going = start(write, item)

        yield begin
        going.result()


@contextmanager
def _a_thread() -> Iterator[Callable[..., Future[Any]]]:
    """A function that calls another on a thread, one call at a time."""
    thread, last = ThreadPoolExecutor(1, "fastcell"), Future[Any]()

    def start(*call: Any) -> Future[Any]:
        nonlocal last
        last = thread.submit(*call)
        return last

    try:
        yield start
    finally:
        try:
            _finish(last)
        finally:
            thread.shutdown()


def _finish(last: Future[Any]) -> None:
    """Wait for a call; an interrupt is raised after it, since files must not be closed while they are written."""
    interrupt = None
    while not last.cancel() and not last.done():
        try:
            wait([last])
        except KeyboardInterrupt as error:
            interrupt = error
    if interrupt is not None:
        raise interrupt
