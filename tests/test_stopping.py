"""Signals: at once, or once the work that is patient has put by how far it is."""

from __future__ import annotations

import os
import signal

import pytest

from compressor.stopping import Stop, Stopped


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize(("number", "status"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_outside_of_patient_work_a_signal_stops_at_once(number: int, status: int) -> None:
    before = signal.getsignal(number)
    with (
        Stop().listening(),
        pytest.raises(Stopped, match="the same command continues") as stopped,
    ):
        send(number)
    assert stopped.value.status == status
    assert signal.getsignal(number) is before


def test_patient_work_sees_the_first_signal_and_the_second_but_its_echo_ends_it() -> None:
    now = [7.0]
    stop = Stop(lambda: now[0])
    seen = []

    def work() -> None:
        with stop.patient():
            for number, after in ((signal.SIGTERM, 0), (signal.SIGTERM, 0.5), (signal.SIGINT, 1)):
                now[0] += after
                send(number)
                seen.append(stop.wanted)

    with stop.listening(), pytest.raises(Stopped) as stopped:
        work()
    assert seen == [True, True]
    assert stopped.value.status == 130


def test_a_wish_that_patient_work_did_not_see_is_granted_after_it() -> None:
    stop = Stop()
    done = []

    def work() -> None:
        with stop.patient():
            send(signal.SIGINT)
            done.append("the last step")
        done.append("what comes after")

    with stop.listening(), pytest.raises(Stopped) as stopped:
        work()
    assert done == ["the last step"]
    assert stopped.value.status == 130


def test_what_fails_in_patient_work_is_told_even_where_it_was_to_stop() -> None:
    stop = Stop()

    def work() -> None:
        with stop.patient():
            stop.receive(signal.SIGINT)
            raise ValueError("broken")

    with pytest.raises(ValueError, match="broken"):
        work()
