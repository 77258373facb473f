"""Telling people who do not look at the desk: signed webhooks, fed from the events of holds."""
