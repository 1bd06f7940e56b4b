"""Accounts, exemptions, recipients, letters: what people are and decide around a ticket."""
