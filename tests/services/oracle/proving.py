"""Owns the proof that a fault lost and doubled nothing: load, readers, the end, the verdict."""

import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from typing import TypedDict, Unpack

from analytics import clock
from tests.services.oracle.answers import FleetAnswers, Judged
from tests.services.oracle.events import DAY_MS, EventStream
from tests.services.oracle.expected import Expected, expected
from tests.services.oracle.inquest import COMPLAINTS, Inquest
from tests.services.oracle.judging import Verdict
from tests.services.oracle.ledger import Ledger
from tests.services.oracle.mishaps import Mix
from tests.services.oracle.reading import Reading, Seen
from tests.services.oracle.reporting import Report
from tests.services.oracle.sending import Sending
from tests.services.oracle.tally import Tally
from tests.services.oracle.topics import dead_letters, find_failed
from tests.services.oracle.views import IDS, PANE_MS, View
from tests.services.workers import Deployment, WorkerFleet

WARM_UP_SECONDS_MAX = 60.0
WARM_UP_PANES = 4


class Options(TypedDict, total=False):
    """What a test may choose beside the fault, the seed and the rate.

    ``reader`` False leaves only a light reader, that asks how far the metrics are. With
    ``retention_ms`` the workers forget windows of that age: those must have been held to the truth
    by a reader before.
    """

    events_a_record: int
    mix: Mix
    reader: bool
    retention_ms: int


class Unproven(AssertionError):
    """Something was lost, doubled, or answered that was not so; the message has the evidence."""

    def __init__(self, report: Report, evidence: list[str]) -> None:
        super().__init__("\n".join((report.line(), *evidence)))
        self.report = report


class Run:
    """A load that is under way, for a test to break things under."""

    def __init__(self, stream: EventStream, sending: Sending, reading: Reading) -> None:
        self.stream = stream
        self._sending, self._reading = sending, reading
        self._fired: list[float] = []
        self._newest_ms = 0
        self.fresh_seconds: list[float] = []
        #: What else a test has measured, by name; it is reported.
        self.figures: dict[str, object] = {}

    @property
    def newest_ms(self) -> int:
        """The latest event time among what was sent so far."""
        return self._sending.newest_ms

    @property
    def through_ms(self) -> int:
        """Up to where all metrics are complete, by the latest answers; -1 while one has none."""
        return self._reading.through_ms

    @property
    def sent(self) -> int:
        """Events handed to the producer so far."""
        return self._sending.sent

    @property
    def acked(self) -> int:
        """Events that Kafka has confirmed so far."""
        return self._sending.acked

    @property
    def fired_times(self) -> int:
        """How often a fault was counted."""
        return len(self._fired)

    @property
    def seen(self) -> Seen:
        """What the readers have seen so far."""
        return self._reading.seen

    def hurry(self, rate: float) -> None:
        """Send so many events a second from now on; event time goes with the events."""
        self._sending.hurry(rate)

    def warm_up(self) -> None:
        """Block until every metric answers and some windows of each are closed for good."""
        time_ms = self.stream.start_ms + WARM_UP_PANES * PANE_MS
        in_time = self._reading.wait_through(time_ms, WARM_UP_SECONDS_MAX)
        assert in_time, f"no answers in {WARM_UP_SECONDS_MAX:g} s: {self._reading.through}"

    def fired(self) -> None:
        """Count a fault: it has happened just now."""
        self._newest_ms = self._sending.newest_ms
        self._fired.append(time.monotonic())

    def wait_fresh(self, seconds_max: float) -> float:
        """Block until all metrics are complete up to what had been sent at the last fault.

        The seconds since then, which are reported as well. AssertionError when it takes longer.
        """
        left = self._fired[-1] + seconds_max - time.monotonic()
        in_time = self._reading.wait_through(self._newest_ms, left)
        seconds = time.monotonic() - self._fired[-1]
        behind = {key: self._newest_ms - ms for key, ms in self._reading.through.items()}
        assert in_time, f"not fresh {seconds:.1f} s after the fault; behind by ms: {behind}"
        self.fresh_seconds.append(round(seconds, 3))
        return seconds


@contextmanager
def proven(
    deployment: Deployment,
    fleet: WorkerFleet | Judged,
    *,
    fault: str,
    seed: int,
    rate: int,
    **options: Unpack[Options],
) -> Iterator[Run]:
    """Put the fleet under load while the body runs, then hold it to the truth.

    `Unproven` when an event was lost or counted twice, when any answer said more than was sent or
    claimed to be complete too early; AssertionError when the body counted no fault. The deployment
    must have `FAULT_METRICS` and `FAULT_SETTINGS`, and its events topic must be empty.
    """
    began = time.monotonic()
    judged = FleetAnswers(fleet) if isinstance(fleet, WorkerFleet) else fleet
    start_ms = (clock.now_ms() - DAY_MS) // 60_000 * 60_000
    size, mix = options.get("events_a_record", 20), options.get("mix", Mix())
    stream = EventStream(seed, rate, start_ms, size, mix)
    tally = Tally(stream, judged.live_views)
    retention_ms = options.get("retention_ms")
    thorough = options.get("reader", True)
    reading = Reading(judged, tally, start_ms, retention_ms, thorough=thorough)
    with (
        closing(judged),
        closing(Ledger(deployment.directory / "acknowledged.bin")) as ledger,
        Sending(deployment, stream, ledger, tally) as sending,
        reading,
    ):
        run = Run(stream, sending, reading)
        try:
            yield run
        except BaseException as error:
            seen = reading.seen
            told = f"live: {seen.excesses} excesses, {seen.early} early of {seen.answers} answers"
            for text in (told, *seen.evidence, *judged.complaints()[-COMPLAINTS:]):
                error.add_note(text)
            raise
        assert run.fired_times, "no fault was counted: this proves nothing"
        sending.end()
        find_failed(deployment, stream, sending.failed, ledger)
        entries = ledger.read()
        truth = expected(stream, entries, judged.views)
        oldest_ms = reading.oldest_ms if retention_ms is not None else 0
        inquest = Inquest(judged, truth, lambda: dead_letters(deployment), oldest_ms)
        inquest.wait_applied({partition: offset for _, partition, offset in entries.tolist()})
        verdict = inquest.settle()
        seen = reading.end()
        if retention_ms is not None:
            verdict.wrong += _never_judged(truth, seen, judged.live_views, oldest_ms)
        report = _report(fault, run, truth, verdict, time.monotonic() - began)
        report.write()
        if not verdict.right or seen.excesses or seen.early:
            complaints = judged.complaints()[-COMPLAINTS:]
            raise Unproven(report, [*verdict.wrong, *seen.evidence, *complaints])


def _never_judged(
    truth: Expected, seen: Seen, views: Sequence[View], oldest_ms: int
) -> Iterator[str]:
    """A text for each metric with windows that are gone and that no reader saw complete."""
    for view in views:
        starts = truth.places(view)["timestamp"].unique()
        gone = {start for start in starts.to_list() if start < oldest_ms}
        missed = sorted(gone - seen.judged[view.metric])
        if missed:
            yield f"{view.metric}: {len(missed)} of {len(gone)} windows not judged: {missed[:5]}"


def _report(fault: str, run: Run, truth: Expected, verdict: Verdict, took_seconds: float) -> Report:
    seen: Seen = run.seen
    return Report(
        fault=fault,
        seed=run.stream.seed,
        fired=run.fired_times,
        events=run.sent,
        acked=truth.acked,
        counted=verdict.counted,
        late=truth.late(IDS),
        duplicates=truth.duplicates,
        dead_letters=verdict.dead_letters,
        lost=verdict.lost,
        doubled=verdict.doubled,
        live_answers=seen.answers,
        live_claims=seen.claims,
        live_excess=seen.excesses,
        live_early=seen.early,
        fresh_seconds=run.fresh_seconds,
        took_seconds=round(took_seconds, 1),
        figures=run.figures,
    )
