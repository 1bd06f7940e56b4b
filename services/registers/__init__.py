"""Registers made from what is stored: of processing (GDPR Art. 30), of requests (11 CCR § 7101), in counts (§ 7102)."""
