"""The server that streams: whole texts, slots that are freed, refusals that say when to come back."""

import asyncio
import json
import threading

import httpx
import pytest
import torch

from tests.waiting import run_apart, wait_until
from utils.batching_server import QueueFullError
from utils.characters import Vocabulary
from utils.continuous_batching import Request, TextBatcher
from utils.language_models import generate
from utils.load_generator import ask
from utils.streaming_server import END, Streamer, ask_and_leave, ask_for_texts, streaming
from utils.transformer import Transformer

VOCABULARY = Vocabulary("abcdefghi")


@pytest.fixture
def model():
    torch.manual_seed(0)
    model = Transformer(9, width=16, heads=2, hidden=24, blocks=2, context=48).eval()
    torch.nn.init.normal_(model.head.weight, std=0.5)
    return model


class Gated(TextBatcher):
    """Makes a step only when it is told to, so that nothing in a test depends on time."""

    def __init__(self, *given, **options):
        super().__init__(*given, **options)
        self.gate = threading.Semaphore(0)

    def step(self):
        assert self.gate.acquire(timeout=60)
        return super().step()


def body(prompt="abc", count=10):
    return json.dumps({"prompt": prompt, "count": count}).encode()


def alone(model, prompt, count):
    tokens = VOCABULARY.encode(prompt)
    return VOCABULARY.decode(generate(model, tokens[None], count, temperature=0)[0, len(tokens) :])


def test_every_request_gets_the_text_that_is_written_alone(model):
    prompts = ["abc", "c", "hgfedcba"]
    with streaming(Streamer(TextBatcher(model, slots=2)), VOCABULARY) as url:
        asked = ask(url, [body(prompt, 12) for prompt in prompts], [0.0] * 9, patience=60)
    assert asked.statuses.tolist() == [200] * 9
    assert asked.answers == [alone(model, prompt, 12) for prompt in prompts] * 3
    assert (asked.firsts <= asked.ends).all()
    assert (asked.firsts >= asked.sent).all()


def test_a_character_is_there_before_the_text_is_complete_and_a_client_that_leaves_frees_its_slot(model):
    batcher = Gated(model, slots=1)
    streamer = Streamer(batcher)
    with streaming(streamer, VOCABULARY) as url, httpx.Client(trust_env=False, timeout=60) as client:
        with client.stream("POST", url, content=body(count=40)) as response:
            batcher.gate.release()
            assert next(response.iter_text())
        batcher.gate.release()  # the step that may be under way
        wait_until(lambda: streamer.cancelled == 1)
        batcher.gate.release(100)
        assert client.post(url, content=body("b", 5)).text == alone(model, "b", 5)
    assert streamer.cancelled == 1
    assert not streamer.streams
    assert batcher.steps < 20, "it wrote on for nobody"


def test_whoever_asks_and_leaves_has_the_beginning_and_frees_the_slot(model):
    streamer = Streamer(TextBatcher(model, slots=1))
    with streaming(streamer, VOCABULARY) as url:
        begun = ask_and_leave(url, "abc", 40)
        wait_until(lambda: not streamer.batcher.busy)
    assert begun
    assert alone(model, "abc", 40).startswith(begun)


def test_each_prompt_may_ask_for_a_number_of_its_own(model):
    with streaming(Streamer(TextBatcher(model, slots=2)), VOCABULARY) as url:
        asked = ask_for_texts(url, ["a", "b"], [3, 5], 4, rate=50.0, seed=0)
    assert asked.answers == 2 * [alone(model, "a", 3), alone(model, "b", 5)]


def test_too_many_are_refused_with_when_to_come_back(model):
    async def crowd():
        streamer = Streamer(TextBatcher(model, slots=2), max_waiting=3)
        streams = [streamer.submit(Request(torch.tensor([1]), 4)) for _ in range(5)]  # two slots, three wait
        with pytest.raises(QueueFullError, match="3 requests are waiting") as refused:
            streamer.submit(Request(torch.tensor([1]), 4))
        assert refused.value.retry_after >= 1
        running = asyncio.create_task(streamer.run())
        for stream in streams:
            written = []
            while (character := await asyncio.wait_for(stream.characters.get(), 60)) is not END:
                written.append(character)
            assert written == stream.request.written
            assert len(written) == 4
        streamer.submit(Request(torch.tensor([1]), 4))  # there is room again
        running.cancel()

    run_apart(crowd())


def test_over_http_a_refusal_is_a_503_with_a_header(model):
    batcher = Gated(model, slots=1)
    streamer = Streamer(batcher, max_waiting=1)

    def open_the_gate():
        wait_until(lambda: streamer.refused == 10, seconds=60)
        batcher.gate.release(1_000)

    with streaming(streamer, VOCABULARY) as url:
        opener = threading.Thread(target=open_the_gate)
        opener.start()
        asked = ask(url, [body()], [0.0] * 12, patience=90)
        opener.join()
    assert sorted(asked.statuses.tolist()) == [200] * 2 + [503] * 10
    assert all(seconds >= 1 for seconds in asked.retry_after[asked.statuses == 503])
    assert all("waiting already" in said for said, s in zip(asked.answers, asked.statuses, strict=True) if s == 503)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"no json", "Expecting value"),
        (b"[]", 'a JSON object with a "prompt"'),
        (body("abc", 0), "count"),
        (body("abz", 3), "'z', at place 2"),
        (body("abc", 46), "got 3 and 46"),
        (body("", 3), "must have a character"),
    ],
)
def test_what_cannot_be_done_is_refused_with_a_reason(model, content, message):
    with (
        streaming(Streamer(TextBatcher(model, slots=1)), VOCABULARY) as url,
        httpx.Client(trust_env=False, timeout=60) as client,
    ):
        response = client.post(url, content=content)
        assert response.status_code == 422
        assert message in response.json()["error"]


def test_a_model_that_fails_ends_its_streams_and_not_the_server(model):
    class Failing(TextBatcher):
        failures = 1

        def step(self):
            if self.failures:
                self.failures -= 1
                self.waiting.popleft()
                raise ZeroDivisionError("on purpose")
            return super().step()

    async def fail_and_go_on():
        streamer = Streamer(TextBatcher(model, slots=1))
        streamer.batcher = Failing(model, slots=1)
        lost, waits = (streamer.submit(Request(torch.tensor([1]), 3)) for _ in range(2))
        running = asyncio.create_task(streamer.run())
        assert "ZeroDivisionError" in str(await asyncio.wait_for(waits.characters.get(), 60))
        streamer.cancel(lost.request)
        after = streamer.submit(Request(torch.tensor([1]), 3))
        for _ in range(3):
            assert isinstance(await asyncio.wait_for(after.characters.get(), 60), int)
        running.cancel()

    run_apart(fail_and_go_on())
