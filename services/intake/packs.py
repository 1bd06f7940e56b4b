"""The policy packs of an installation: its own before the built-in ones, by regime."""

from policies.errors import LetheError
from policies.pack import PolicyPack, builtin_packs, load_pack
from services.settings import PolicySettings


class Packs:
    """Finds the pack of a regime; a changed file is read again."""

    def __init__(self, settings: PolicySettings) -> None:
        self._settings = settings

    def regimes(self) -> tuple[str, ...]:
        """The regimes under which a ticket can be filed."""
        return tuple(sorted({*builtin_packs(), *self._own()}))

    def get(self, regime: str) -> PolicyPack:
        """The pack of a regime.

        Raises:
            LetheError: ``policy.unknown_regime``, or ``policy.pack_invalid`` where an own pack is damaged.
        """
        own = self._own()
        if regime in own:
            return own[regime]
        if regime not in builtin_packs():
            raise LetheError("policy.unknown_regime", f"no pack for this regime; known: {', '.join(self.regimes())}")
        return load_pack(regime)

    def _own(self) -> dict[str, PolicyPack]:
        directory = self._settings.pack_path
        if directory is None:
            return {}
        packs = [load_pack(path) for path in sorted(directory.glob("*.yaml"))]
        return {pack.regime: pack for pack in packs}
