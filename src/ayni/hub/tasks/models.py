"""Tasks, arrays, attempts, and the broker's groups and placements.

A task's row is narrow, since projects list them by the hundred thousand; documents lie beside it.
"""

from __future__ import annotations

from django.conf import settings
from django.db import models

from ayni.hub.tasks.life import TaskState
from ayni.protocol.attempts import AttemptState


class Group(models.Model):
    """Like tasks: same project, person, shape and inputs' places. The broker's unit.

    Of one person, since sites may refuse persons: a refusal is said to a group.
    """

    project = models.ForeignKey("calls.Project", on_delete=models.CASCADE, related_name="groups")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, related_name="+")
    key = models.CharField(max_length=64)  # SHA-256 of the person and what follows
    shape = models.JSONField()  # tes.shape.Shape
    sites = models.JSONField(null=True)  # where residency lets it run; None: anywhere
    data = models.JSONField(default=dict)  # bytes to read, by site; "" is the hub
    datasets = models.JSONField(default=list)  # [site, name] of the sites' datasets it reads
    https_hosts = models.JSONField(default=list)
    created = models.DateTimeField(auto_now_add=True)

    class Meta:
        constraints = [models.UniqueConstraint(fields=["project", "key"], name="group_key")]


class Array(models.Model):
    """Many tasks of one shape, from one template."""

    id = models.BigIntegerField(primary_key=True)  # tasks.ids
    project = models.ForeignKey("calls.Project", on_delete=models.CASCADE, related_name="arrays")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT)
    name = models.CharField(max_length=256, blank=True)
    template = models.TextField()  # a TES document, JSON
    size = models.IntegerField()
    rerun_of = models.ForeignKey("self", on_delete=models.SET_NULL, null=True)
    created = models.DateTimeField()
    ended = models.DateTimeField(null=True)  # when its last task ended
    counts = models.JSONField(null=True)  # tasks by state (shown), once it has ended

    class Meta:
        indexes = [models.Index(fields=["project", "-id"], name="array_project")]


class Task(models.Model):
    """One TES task. See `life` for its states.

    Foreign keys without an index of their own: a hundred thousand rows are inserted at once, and the
    indexes below begin with what is looked up. An array's tasks are the numbers after its own.
    """

    id = models.BigIntegerField(primary_key=True)  # tasks.ids
    project = models.ForeignKey(
        "calls.Project", on_delete=models.CASCADE, related_name="tasks", db_index=False
    )
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.PROTECT, db_index=False)
    group = models.ForeignKey(Group, on_delete=models.PROTECT, related_name="tasks", db_index=False)
    array = models.ForeignKey(
        Array, on_delete=models.CASCADE, null=True, related_name="tasks", db_index=False
    )
    index = models.IntegerField(null=True)
    parameters = models.JSONField(null=True)  # of this task of the array
    name = models.CharField(max_length=256, blank=True)  # sorts by its bytes: migration 0002
    state = models.SmallIntegerField(choices=[(s.value, s.name) for s in TaskState])
    tries = models.SmallIntegerField(default=0)  # attempts that count against max_attempts
    links = models.SmallIntegerField(default=0)  # of a chain, that have ended and are followed
    reason = models.JSONField(null=True)  # why it ended badly: protocol.policy.Reason
    watched_until = models.DateTimeField(null=True)  # somebody reads its logs until then
    created = models.DateTimeField()
    ended = models.DateTimeField(null=True)

    class Meta:
        indexes = [
            models.Index(fields=["project", "-id"], name="task_project"),
            models.Index(fields=["project", "state", "-id"], name="task_project_state"),
            models.Index(fields=["project", "name", "id", "state"], name="task_project_name"),
            models.Index(fields=["array", "state", "id"], name="task_array_state"),
            models.Index(
                fields=["group", "id"],
                name="task_queue",
                condition=models.Q(state=TaskState.QUEUED.value),
            ),
            models.Index(
                fields=["group"],
                name="task_retries",
                condition=models.Q(state=TaskState.QUEUED.value, tries__gt=0),
            ),
            models.Index(
                fields=["watched_until"],
                name="task_watched",
                condition=models.Q(watched_until__isnull=False),
            ),
        ]


class TaskBody(models.Model):
    """The document of a task that stands alone; a task of an array has its array's template."""

    task = models.OneToOneField(
        Task, on_delete=models.CASCADE, primary_key=True, related_name="body"
    )
    document = models.TextField()  # TES, JSON


class TaskTag(models.Model):
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="tags")
    project = models.ForeignKey(
        "calls.Project", on_delete=models.CASCADE, related_name="+", db_index=False
    )
    key = models.CharField(max_length=256)
    value = models.CharField(max_length=4096)

    class Meta:
        indexes = [models.Index(fields=["project", "key", "value", "-task"], name="task_tag")]


class IdempotencyKey(models.Model):
    """What a request with `Idempotency-Key` made, so that sending it again makes nothing."""

    project = models.ForeignKey("calls.Project", on_delete=models.CASCADE, related_name="+")
    person = models.ForeignKey(settings.AUTH_USER_MODEL, on_delete=models.CASCADE)
    key = models.CharField(max_length=255)
    digest = models.CharField(max_length=64)  # SHA-256 of what was asked
    made = models.BigIntegerField()  # the task or array
    created = models.DateTimeField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["project", "person", "key"], name="idempotency_key")
        ]
        indexes = [models.Index(fields=["created"], name="idempotency_age")]


class After(models.Model):
    """A task or array that waits for another task or array."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, null=True, related_name="after")
    array = models.ForeignKey(Array, on_delete=models.CASCADE, null=True, related_name="after")
    on_task = models.ForeignKey(Task, on_delete=models.CASCADE, null=True, related_name="before")
    on_array = models.ForeignKey(Array, on_delete=models.CASCADE, null=True, related_name="before")
    ended_is_enough = models.BooleanField(default=False)  # else all must have ended well
    settled = models.BooleanField(default=False)


class Attempt(models.Model):
    """One try at a task at one site. `state` is what the site last said, or what the hub gave up."""

    id = models.BigIntegerField(primary_key=True)  # tasks.ids
    task = models.ForeignKey(Task, on_delete=models.CASCADE, related_name="attempts")
    number = models.SmallIntegerField()
    site = models.ForeignKey("network.Site", on_delete=models.PROTECT, related_name="attempts")
    partition = models.CharField(max_length=64)
    state = models.CharField(max_length=20, default=AttemptState.ASSIGNED.value)
    live = models.BooleanField(
        default=True
    )  # state is in protocol.attempts.LIVE: holds room at its site
    superseded = models.BooleanField(default=False)  # the task went on without it
    withdraw = models.BooleanField(default=False)  # the hub asks for it back
    cancel = models.BooleanField(default=False)  # the hub wants it dead
    seq = models.BigIntegerField(default=0)  # of the last report applied
    assigned = models.DateTimeField()
    accepted = models.DateTimeField(null=True)
    started = models.DateTimeField(null=True)
    ended = models.DateTimeField(null=True)
    report = models.JSONField(null=True)  # protocol.messages.Report, the last one
    foreseen = models.JSONField(null=True)  # of its start, when it was made: see network.waits

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=["task", "number"], name="attempt_number"),
            # The hub accepts at most one attempt.
            models.UniqueConstraint(
                fields=["task"],
                name="one_attempt_in_force",
                condition=models.Q(live=True, superseded=False),
            ),
        ]
        indexes = [
            models.Index(
                fields=["site", "state"], name="attempt_site_live", condition=models.Q(live=True)
            ),
            models.Index(  # what a site is still to be told
                fields=["site"],
                name="attempt_site_orders",
                condition=models.Q(cancel=True) | models.Q(withdraw=True),
            ),
        ]


class Placement(models.Model):
    """A decision of the broker on a group, with the reasons, also for the sites it passed over."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="placements")
    site = models.ForeignKey("network.Site", on_delete=models.CASCADE, null=True)  # None: all wait
    partition = models.CharField(max_length=64, blank=True)
    first = models.DateTimeField()
    last = models.DateTimeField()  # the same decision, again and again, is one row
    count = models.IntegerField(default=0)  # tasks placed by it
    reasons = models.JSONField()  # [{site, verdict, code, message, parameters}]
    fingerprint = models.CharField(max_length=64)

    class Meta:
        indexes = [models.Index(fields=["group", "-last"], name="placement_group")]


class Refusal(models.Model):
    """A site said no to a group; it is not asked again until its policy changes."""

    group = models.ForeignKey(Group, on_delete=models.CASCADE, related_name="refusals")
    site = models.ForeignKey("network.Site", on_delete=models.CASCADE)
    reason = models.JSONField()
    at = models.DateTimeField()

    class Meta:
        constraints = [models.UniqueConstraint(fields=["group", "site"], name="refusal_once")]


class Notice(models.Model):
    """A mail or a webhook at the end of a task or array."""

    task = models.ForeignKey(Task, on_delete=models.CASCADE, null=True)
    array = models.ForeignKey(Array, on_delete=models.CASCADE, null=True)
    kind = models.CharField(max_length=10)  # mail or webhook
    target = models.CharField(max_length=500)
    created = models.DateTimeField()
    tries = models.SmallIntegerField(default=0)
    due = models.DateTimeField(null=True)  # set when the task or array has ended; next try
    sent = models.DateTimeField(null=True)
    error = models.CharField(max_length=500, blank=True)

    class Meta:
        indexes = [
            models.Index(fields=["due"], name="notice_due", condition=models.Q(sent=None)),
        ]
