"""How a release of Lethe is made: bentos, their containerfiles, SBOM, licences. Not part of what runs."""
