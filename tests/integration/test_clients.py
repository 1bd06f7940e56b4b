"""Clients as people use them, each against the running service."""

from typing import Any

import openai
import pytest

from tests.integration.serving_host import Host

pytestmark = pytest.mark.slow


def test_the_openai_package_is_served(asked: Host) -> None:
    with openai.OpenAI(base_url=f"{asked.url}/v1", api_key=asked.token(), max_retries=0) as client:
        assert [model.id for model in client.models.list()] == ["lethe"]
        question: Any = [{"role": "user", "content": "who are you ?"}]
        whole = client.chat.completions.create(
            model="lethe", messages=question, max_tokens=3, temperature=0, stop=["zeta"], seed=3
        )
        assert whole.choices[0].message.content == "beta beta beta"
        assert whole.usage is not None
        assert whole.usage.completion_tokens == 3
        stream = client.chat.completions.create(
            model="lethe", messages=question, max_completion_tokens=3, temperature=0, stream=True
        )
        text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
        assert text == "beta beta beta"
        plain = client.completions.create(model="lethe", prompt="hello", max_tokens=2, temperature=0)
        assert plain.choices[0].text == "beta beta"
        with pytest.raises(openai.NotFoundError):
            client.chat.completions.create(model="base", messages=question)
        with pytest.raises(openai.BadRequestError):
            client.chat.completions.create(model="lethe", messages=question, max_tokens=100_000)
