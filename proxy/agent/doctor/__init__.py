"""`intent-proxy doctor`: what is wrong where an agent runs, and how to mend it.

Needs the base distribution alone: `python -m proxy.agent.doctor --help`.
"""
