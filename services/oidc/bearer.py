"""``Authorization: Bearer <JWT>``: an access token of the provider counts like an API key."""

from starlette.requests import HTTPConnection

from services.auth import Identity
from services.guard import Credential, token_of
from services.oidc.issuer import Issuer
from services.oidc.tokens import checked, role_of
from services.people import accounts
from services.store.engine import Store


def bearer(issuer: Issuer) -> Credential:
    """The credential for ``services.web.add_credential``.

    Only tokens for ``oidc.audience`` count, which is not the console's client: what proves a log-in there opens no API.
    """

    def look(store: Store, connection: HTTPConnection) -> Identity | None:
        token = token_of(connection)
        if token is None or token.count(".") != 2:
            return None  # no JWT; our own keys have no dots
        claims = checked(issuer, token, audience=issuer.settings.audience)
        return accounts.enter(store, issuer.settings.issuer, str(claims["sub"]), role_of(issuer, claims))

    return look
