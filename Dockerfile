# calbus in one small image: `docker run calbus:latest writer`, and every other command of the program.
#
#   make image                       builds it, with docker, podman or buildah
#   docker build --target simulator  builds the Microsoft 365 simulator, for demonstrations and tests
#
# Runs as a user without a name, with a root file system that is read-only, and with no capability. Where packages come
# from a mirror: --secret id=pip.conf,src=…  (it is mounted for the installation, and is in no layer).
ARG BASE=python:3.13-slim

FROM ${BASE} AS build
WORKDIR /src
ENV PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1
# What builds stays out of what runs: its own environment, which also installs into the other one.
COPY requirements-image.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv /build \
 && /build/bin/pip install --quiet --require-hashes -r requirements-image.lock
COPY requirements.lock requirements-traces.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    python3 -m venv --without-pip /opt/calbus \
 && /build/bin/pip --python /opt/calbus/bin/python3 install --quiet --require-hashes \
      -r requirements.lock -r requirements-traces.lock
COPY pyproject.toml README.md LICENSE ./
COPY calbus calbus
COPY schemas schemas
COPY services services
COPY simulator simulator
COPY devstack devstack
RUN /build/bin/hatchling build --target wheel --directory dist \
 && /build/bin/pip --python /opt/calbus/bin/python3 install --quiet --no-deps --no-index dist/*.whl \
 && /build/bin/cyclonedx-py environment --pyproject pyproject.toml --output-reproducible \
      --output-format JSON --output-file /opt/calbus/sbom.cdx.json /opt/calbus/bin/python3

FROM build AS build-simulator
COPY requirements-simulator.lock ./
RUN --mount=type=secret,id=pip.conf,target=/etc/pip.conf \
    /build/bin/pip --python /opt/calbus/bin/python3 install --quiet --require-hashes -r requirements-simulator.lock \
 && mkdir /state

FROM ${BASE} AS runtime
ENV PATH=/opt/calbus/bin:$PATH \
    PYTHONUNBUFFERED=1 \
    PYTHONDONTWRITEBYTECODE=1 \
    CALBUS_ADMIN_HOST=0.0.0.0 \
    CALBUS_ADMIN_PORT=9464
WORKDIR /opt/calbus
# A number, so that Kubernetes can tell that it is not root.
USER 65532:65532

FROM runtime AS simulator
COPY --from=build-simulator /opt/calbus /opt/calbus
COPY --from=build-simulator --chown=65532:65532 /state /state
# Certificates go through a file of their own on their way into TLS, and nothing else can be written.
ENV TMPDIR=/state
LABEL org.opencontainers.image.title="calbus-simulator" \
      org.opencontainers.image.description="A Microsoft 365 to run calbus against" \
      org.opencontainers.image.licenses="Apache-2.0"
EXPOSE 8080 8443
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s \
  CMD ["python3", "-c", "import urllib.request as u; u.urlopen('http://127.0.0.1:8080/_sim/health', timeout=4)"]
ENTRYPOINT ["python3", "-m", "simulator", "--http-port", "8080", "--https-port", "8443", "--state-dir", "/state"]
CMD ["--host", "0.0.0.0"]

FROM runtime AS calbus
COPY --from=build /opt/calbus /opt/calbus
ARG BASE
ARG VERSION=0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="calbus" \
      org.opencontainers.image.description="Keeps people's Outlook calendars in step with the work that business systems plan for them" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}" \
      org.opencontainers.image.base.name="${BASE}"
# Probes and metrics, and the webhook of the puller.
EXPOSE 9464 8080
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python3", "-m", "calbus.probe"]
ENTRYPOINT ["calbus"]
CMD ["--help"]
