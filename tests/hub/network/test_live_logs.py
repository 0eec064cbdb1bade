"""A log that grows wakes whoever reads it."""

from __future__ import annotations

import pytest

from ayni.hub.network import wake
from ayni.hub.network.cycle import Broker
from ayni.protocol.attempts import AttemptState
from ayni.protocol.messages import LogReport
from tests.hub import factories as make
from tests.hub.network import simulated


@pytest.mark.django_db(transaction=True)
def test_a_log_that_grows_wakes_its_readers_though_the_state_stays() -> None:
    project = make.project()
    simulated.tasks(project)
    agent = simulated.Agent(make.site())
    agent.settle()
    Broker().cycle()
    agent.settle()
    [attempt] = agent.assigned
    agent.advance(attempt, AttemptState.RUNNING)
    agent.settle()
    ear = wake.Ear(wake.task_key(project.pk))
    assert not ear.wait(0)
    log = LogReport(command=0, stream="stdout", size=3, tail="uno")
    agent.journal.say(attempt, AttemptState.RUNNING, logs=[log])
    agent.settle()
    assert ear.wait(0)
