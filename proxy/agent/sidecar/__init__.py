"""The sidecar: a proxy on loopback beside an agent that signs what the agent sends, so that the agent need not.

It holds the manifest's key, and the agent knows nothing but `HTTPS_PROXY`. It decides nothing: what may pass is the
proxy's affair, and so is every check of what the agent sends. Needs `h11` (the extra `sidecar`).
"""
