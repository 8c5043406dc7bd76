"""A process that was started is recorded, at whatever moment Ctrl-C arrives."""

from __future__ import annotations

import os
import signal
import threading

import pytest

from nodes.provision import signals_deferred


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_waits_until_the_process_is_remembered(number: signal.Signals) -> None:
    remembered: list[str] = []
    came: list[tuple[int, list[str]]] = []
    before = signal.signal(number, lambda given, _frame: came.append((given, list(remembered))))
    try:
        with signals_deferred():
            os.kill(os.getpid(), number)
            remembered.append("process")
        assert came == [(number, ["process"])]
    finally:
        signal.signal(number, before)


def test_ctrl_c_interrupts_once_the_block_has_ended() -> None:
    remembered = []
    with pytest.raises(KeyboardInterrupt), signals_deferred():
        os.kill(os.getpid(), signal.SIGINT)
        remembered.append("process")
    assert remembered == ["process"]
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_other_threads_leave_signals_alone() -> None:
    seen = []

    def inside() -> None:
        with signals_deferred():
            seen.append(signal.getsignal(signal.SIGINT))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()
    assert seen == [signal.getsignal(signal.SIGINT)]
