import threading
import time

import pytest

from rundial.errors import AuthError, RequestError
from rundial.events import Ack, Gap, Metrics
from rundial.testing import MemoryTransport, capture_run
from rundial.transport import Outcome
from rundial.wire import encode, unpack_chunks


def wait_until(condition, seconds=5.0):
    """Wait for what another thread does; the test fails when it does not happen."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def test_records_reach_the_server_in_order():
    """What was logged arrives once, in order, without anybody waiting for it."""
    with capture_run() as (run, server):
        for step in range(2000):
            run.log({"loss": 1 / (step + 1)})
        assert run.flush(5)
        assert server.steps("loss") == list(range(2000))
    assert run.diagnostics().pending == 0


def test_requests_wait_until_more_has_come_together():
    """However steadily a script logs, the server hears of it twice a second, and at once when somebody waits."""
    with capture_run(flush_interval_seconds=60) as (run, server):
        wait_until(lambda: run._pipeline.worker.acknowledged)
        for _ in range(100):
            run.log({"loss": 0.5})
            time.sleep(0.001)
        assert server.deliveries <= 3
        assert run.flush(5)
        assert server.steps("loss") == list(range(100))


def test_more_than_a_request_holds_is_sent_without_a_pause():
    """What waits is sent in one go, whatever the pace of what came before."""
    with capture_run(flush_interval_seconds=60) as (run, server):
        wait_until(lambda: run._pipeline.worker.acknowledged)
        for _ in range(40_000):
            run.log({"loss": 0.5})
        assert run.flush(10)
        assert len(server.steps("loss")) == 40_000


def test_an_answer_to_a_dial_goes_out_at_once():
    """Who has turned a dial looks at it."""
    with capture_run(flush_interval_seconds=60) as (run, server):
        wait_until(lambda: run._pipeline.worker.acknowledged)
        run._pipeline.emit(Ack(1, "command", "lr", "applied"))
        wait_until(lambda: any(isinstance(event, Ack) for event in server.events))


def test_a_handler_that_flushes_within_an_offer_does_not_hang():
    """It holds the queue and wants the worker; the worker, which is moving, wants the queue: it gives way."""
    with capture_run() as (run, server):
        worker, queue = run._pipeline.worker, run._pipeline.queue
        wait_until(lambda: worker.acknowledged)
        put, flushed = queue._put, []

        def interrupted(record):
            queue._put = put
            mover = threading.Thread(target=worker.move, kwargs={"everything": True})
            mover.start()
            wait_until(lambda: worker._moving)
            flushed.append(run.flush(5))
            mover.join()
            return put(record)

        queue._put = interrupted
        logging = threading.Thread(target=run.log, args=({"loss": 0.5},), daemon=True)
        logging.start()
        logging.join(20)
        assert flushed == [True]
        assert run.flush(5)
        assert server.steps("loss") == [0]


@pytest.mark.parametrize(
    "trouble",
    [
        Outcome("retry", error=RequestError("no answer")),
        Outcome("retry", retry_after=0.05, error=RequestError("busy", 429)),
    ],
)
def test_trouble_passes_and_nothing_is_lost(trouble):
    """After answers that acknowledge nothing, everything is sent again, once."""
    server = MemoryTransport()
    server.script = [trouble] * 4
    with pytest.warns(RuntimeWarning, match="Training goes on"), capture_run(server) as (run, _):
        for _ in range(500):
            run.log({"loss": 0.5})
        assert run.finish(10)
    assert server.steps("loss") == list(range(500))
    assert run.diagnostics().retry_attempts == 4


def test_a_reply_that_was_lost_doubles_nothing():
    """The server took the batch but the answer never came: the second sending is recognised."""

    class Forgetful(MemoryTransport):
        def deliver(self, stream, body):
            outcome = super().deliver(stream, body)
            return Outcome("retry", error=RequestError("reset")) if self.deliveries in (1, 3) else outcome

    server = Forgetful()
    with pytest.warns(RuntimeWarning, match="reset"), capture_run(server) as (run, _):
        for _ in range(500):
            run.log({"loss": 0.5})
        assert run.finish(10)
    assert server.steps("loss") == list(range(500))


def test_a_refused_key_holds_everything():
    """401 drops nothing: the data waits, and it is said once."""
    server = MemoryTransport()
    with pytest.warns(RuntimeWarning, match="wrong key") as warned, capture_run(server) as (run, _):
        server.script = [Outcome("denied", error=AuthError("wrong key.", 401))]
        for _ in range(100):
            run.log({"loss": 0.5})
        assert not run.flush(0.5)
        account = run.diagnostics()
        assert (account.pending, account.dropped, account.health) == (100, {}, "degraded")
        run.finish(0.1)
    assert len(warned) == 1


class Picky(MemoryTransport):
    """Refuses with 400 every body that holds a certain value."""

    def deliver(self, stream, body):
        for chunk in unpack_chunks(body):
            if b"poison" in chunk.records:
                return Outcome("bad", error=RequestError("poison.", 400, "INVALID_REQUEST"))
        return super().deliver(stream, body)


def test_one_bad_record_costs_no_other(tmp_path):
    """A record the server refuses is found, counted and kept; its neighbours arrive."""
    server = Picky()
    with pytest.warns(RuntimeWarning, match="poison"), capture_run(server, spool_directory=str(tmp_path)) as (run, _):
        for step in range(300):
            run.log({"loss": 0.5, "note": "poison" if step == 123 else "fine"})
        assert run.finish(10)
    account = run.diagnostics()
    assert server.steps("loss") == [step for step in range(300) if step != 123]
    assert [event.reason for event in server.events if isinstance(event, Gap)] == ["rejected"]
    assert account.dropped == {"rejected": 1}
    assert account.balanced
    kept = list((tmp_path / "rejected").iterdir())
    assert [b"poison" in path.read_bytes() for path in kept] == [True]


def test_a_server_that_lost_its_memory_is_told_of_the_gap():
    """A server restored from a backup asks for what is long gone: it gets a gap, and the rest."""
    server = MemoryTransport()
    with capture_run(server) as (run, _):
        run.log({"loss": 1.0})
        assert run.flush(5)
        server._next.clear()
        run.log({"loss": 2.0})
        assert run.finish(5)
    assert server.series("loss") == [1.0, 2.0]
    assert any(isinstance(event, Gap) for event in server.events)


def test_an_idle_run_gives_signs_of_life():
    """A run that logs nothing is heard of now and then."""
    with capture_run(heartbeat_seconds=1.0) as (run, server):
        assert run.flush(5)
        before = server.deliveries
        wait_until(lambda: server.deliveries > before)


def test_data_waits_on_disk_while_nobody_answers(tmp_path):
    """Within a second of silence, what was logged is in the spool."""
    server = MemoryTransport()
    server.script = [Outcome("retry", error=RequestError("no answer"))] * 1000
    with pytest.warns(RuntimeWarning), capture_run(server, spool_directory=str(tmp_path)) as (run, _):
        run.log({"loss": 0.5})
        wait_until(lambda: run.diagnostics().spool_bytes > 0 and run.diagnostics().queue_depth == 0)
        assert run.diagnostics().balanced
        server.script.clear()


def test_a_spool_that_cannot_be_written_stops_nothing(tmp_path):
    """Without a place on the disk the data goes straight to the server, and one warning says so."""
    (tmp_path / "file").write_text("in the way")
    with capture_run(spool_directory=str(tmp_path / "file" / "spool")) as (run, server):
        for _ in range(1000):
            run.log({"loss": 0.5})
        assert run.finish(5)
    assert server.steps("loss") == list(range(1000))


def test_the_account_adds_up_when_the_queue_overflows(tmp_path):
    """A burst beyond every bound: what was refused is counted, what was accepted arrives."""
    (tmp_path / "file").write_text("in the way")
    server = MemoryTransport()
    server.script = [Outcome("retry", error=RequestError("no answer"))] * 3
    options = {"queue_bytes": 64 * 1024, "spool_directory": str(tmp_path / "file" / "spool")}
    with pytest.warns(RuntimeWarning), capture_run(server, **options) as (run, _):
        accepted = sum(run.log({"loss": 0.5}) for _ in range(5000))
        assert run.finish(10) in (True, False)
        account = run.diagnostics()
    assert account.balanced
    assert account.dropped["queue_full"] >= 5000 - accepted
    assert len(server.steps("loss")) == accepted


def test_records_are_what_log_encoded():
    """Nothing on the way decodes and encodes again: the bytes are the same."""
    seen = []

    class Watching(MemoryTransport):
        def deliver(self, stream, body):
            seen.extend(chunk.records for chunk in unpack_chunks(body))
            return super().deliver(stream, body)

    with capture_run(Watching()) as (run, _):
        run.log({"loss": 0.25}, step=7)
        run.finish(5)
    event = next(event for event in run_events(seen) if isinstance(event, Metrics))
    assert encode((2, event.time_ns, 7, {"loss": 0.25})) in b"".join(seen)


def run_events(records):
    import msgspec

    from rundial.events import Event
    from rundial.wire import split_records

    for part in records:
        for record in split_records(part):
            yield msgspec.msgpack.decode(record, type=Event)
