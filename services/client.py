"""The command line's way to the services: HTTP with a key, and the service's errors as our own."""

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from policies.errors import ERRORS, LetheError

if TYPE_CHECKING:
    import httpx

    from services.settings import AddressSettings, Settings

TIMEOUT_S = 60.0


def api_key(settings: "Settings") -> str:
    """``LETHE_API_KEY``, else the operator's key of this host.

    Raises:
        LetheError: ``auth.missing``.
    """
    given = os.environ.get("LETHE_API_KEY", "").strip()
    if given:
        return given
    path: Path = settings.key_directory / "operator.key"
    try:
        return path.read_text().strip()
    except OSError as error:
        raise LetheError("auth.missing", "There is no API key in LETHE_API_KEY and none of an operator.") from error


class ServiceClient:
    """Talks to the intake, or to another of our services; a context manager.

    Args:
        settings: Where the key is.
        address: Of the service; None: the intake's.
        transport: Another way to the service than the network (tests).
    """

    def __init__(
        self,
        settings: "Settings",
        address: "AddressSettings | None" = None,
        *,
        transport: "httpx.BaseTransport | None" = None,
    ) -> None:
        import httpx

        self._http = httpx.Client(
            base_url=(address or settings.intake).url,
            headers={"Authorization": f"Bearer {api_key(settings)}"},
            timeout=TIMEOUT_S,
            transport=transport,
            trust_env=False,  # a proxy of the environment must not see tickets
        )

    def __enter__(self) -> "ServiceClient":
        return self

    def __exit__(self, *_: object) -> None:
        self._http.close()

    def get(self, path: str, **params: Any) -> Any:
        """JSON of a GET; parameters that are None are left out."""
        return self._call("GET", path, params=_given(params)).json()

    def get_bytes(self, path: str, **params: Any) -> bytes:
        """The content of a GET."""
        return self._call("GET", path, params=_given(params)).content

    def post(self, path: str, body: Any = None) -> Any:
        """JSON of a POST of a JSON value."""
        return self._call("POST", path, json=body).json()

    def delete(self, path: str) -> None:
        """A DELETE that answers nothing."""
        self._call("DELETE", path)

    def post_bytes(self, path: str, body: bytes) -> tuple[int, Any]:
        """Status and JSON of a POST of JSON as it stands in a file."""
        response = self._call("POST", path, content=body, headers={"Content-Type": "application/json"})
        return response.status_code, response.json()

    def stream(self, path: str, *, after: int = 0) -> Iterator[tuple[str, dict[str, Any]]]:
        """(kind, data) of server-sent events, taken up again where the connection broke."""
        import httpx

        seen, failures = after, 0
        while True:
            try:
                for kind, number, data in self._events(path, seen):
                    seen, failures = max(seen, number), 0
                    yield kind, data
                    if kind == "end":
                        return
            except httpx.TransportError as error:
                failures += 1
                if failures > 3:
                    raise _unreachable(self._http) from error

    def _events(self, path: str, after: int) -> Iterator[tuple[str, int, dict[str, Any]]]:
        headers = {"Accept": "text/event-stream"}
        with self._http.stream("GET", path, params={"after": after}, headers=headers) as response:
            if response.is_error:
                response.read()
                raise _refused(response)
            kind, number = "", 0
            for line in response.iter_lines():
                name, _, value = line.partition(": ")
                if name == "event":
                    kind = value
                elif name == "id":
                    number = int(value)
                elif name == "data":
                    yield kind, number, json.loads(value)
                    kind, number = "", 0

    def _call(self, method: str, path: str, **more: Any) -> "httpx.Response":
        import httpx

        try:
            response = self._http.request(method, path, **more)
        except httpx.TransportError as error:
            raise _unreachable(self._http) from error
        if response.is_error:
            raise _refused(response)
        return response


def _unreachable(http: "httpx.Client") -> LetheError:
    return LetheError("service.unreachable", f"The service does not answer at {http.base_url}.")


def _refused(response: "httpx.Response") -> LetheError:
    """The service's own error; one without our body came from something in between."""
    try:
        error = response.json()["error"]
        code, message, details = error["code"], error["message"], tuple(error["details"])
    except (ValueError, KeyError, TypeError):
        code, message, details = "internal", f"The service answered {response.status_code}.", ()
    return LetheError(code if code in ERRORS else "internal", message, details)


def _given(params: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in params.items() if value is not None and value != []}
