"""Tasks spread over forked processes, one thread each."""

import gc
import multiprocessing
import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection, wait
from typing import TypeVar, cast

import torch

from gengap._allocator import keep_freed_memory
from gengap._errors import WorkerError

_PATIENCE = 10.0  # seconds that a process has to end

Task = TypeVar("Task")
Result = TypeVar("Result")


def map_processes(
    function: Callable[[Task], Result],
    tasks: Sequence[Task],
    *,
    workers: int,
    on_message: Callable[[object], None] | None = None,
) -> list[Result]:
    """Return `[function(task) for task in tasks]`, computed by forked processes.

    Each process inherits the function and all tasks as they are in memory, so closures and
    splits need not be sent; it takes the next task when it is done with one. Results and
    messages are pickled and sent through a pipe. The processes end with this one, even if it is
    killed.

    Args:
        function: What to compute; it runs with one torch thread.
        tasks: Its arguments.
        workers: Most processes.
        on_message: Called with whatever a task sends with `send_message`.

    Raises:
        RuntimeError: A process died.
        Exception: What a task raised, with its traceback as a note; as a RuntimeError if it
            cannot be sent.
    """
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    for index in range(len(tasks)):
        queue.put(index)
    for _ in range(workers):
        queue.put(None)
    pipes, processes = {}, []
    for _ in range(min(workers, len(tasks))):
        receive, send = context.Pipe(duplex=False)
        process = context.Process(target=_work, args=(function, tasks, queue, send), daemon=True)
        blocked = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})  # until `_disinherit`
        try:
            process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, blocked)
        send.close()
        pipes[receive] = process
        processes.append(process)
    try:
        return _collect(pipes, len(tasks), on_message)
    finally:
        for process in processes:
            process.terminate()
            process.join(_PATIENCE)
            process.kill()
            process.join()


_sender: Connection | None = None
_inherited: object = None


def send_message(message: object) -> None:
    """Send progress from inside a task to the parent; does nothing outside one."""
    if _sender is not None:
        _send(_sender, "message", -1, message)


def _send(pipe: Connection, kind: str, index: int, content: object) -> None:
    """Send by value: tensors too, whose memory would otherwise die with the process."""
    pipe.send_bytes(pickle.dumps((kind, index, content)))


def _sendable(error: Exception) -> Exception:
    """Return the error itself if it survives the way through a pipe, else its words."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _die_with_parent() -> None:
    """End this process when its parent is gone, killed without a chance to end its children."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)


def _disinherit() -> None:
    """Leave alone what other libraries have in the parent: neither run nor free it here.

    Ray has a handler of SIGTERM, and frees its connections with it, which crashes in a fork.
    """
    global _inherited
    gc.freeze()
    _inherited = signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})


def _work(function: Callable, tasks: Sequence, queue: object, send: Connection) -> None:
    global _sender
    _disinherit()
    _sender = send
    torch.set_num_threads(1)
    keep_freed_memory()
    threading.Thread(target=_die_with_parent, daemon=True).start()
    try:
        while (index := queue.get()) is not None:  # type: ignore[attr-defined]
            try:
                _send(send, "result", index, function(tasks[index]))
            except Exception as error:
                text = "".join(traceback.format_exception(error))
                _send(send, "error", index, (_sendable(error), text))
    except (KeyboardInterrupt, BrokenPipeError):
        pass
    finally:
        send.close()


def _collect(pipes: dict, count: int, on_message: Callable[[object], None] | None) -> list:
    results: dict[int, object] = {}
    while pipes and len(results) < count:
        for pipe in wait(list(pipes)):
            try:
                kind, index, content = pickle.loads(cast(Connection, pipe).recv_bytes())
            except (EOFError, OSError):
                del pipes[pipe]
                continue
            if kind == "error":
                error, text = content
                error.add_note(f"In a worker process:\n{text}")
                raise error
            if kind == "message" and on_message:
                on_message(content)
            elif kind == "result":
                results[index] = content
    if len(results) < count:
        raise WorkerError(
            f"Every worker process must end with its tasks done; {count - len(results)} of {count} "
            "tasks were lost with a process that died, as where memory runs out. What was complete "
            "is kept: run it again, with fewer workers if need be."
        )
    return [results[i] for i in range(count)]
