# The gateway, with its chat page, for docker-compose.yml or by itself: docs/containers.md says how.
#   docker build -t ai-gateway .
#   docker build -t ai-gateway:api --build-arg REQUIREMENTS=requirements-server.txt .      (without the page)
ARG BASE=python:3.13-slim

# ---- Build: everything that makes things stays in this stage.
FROM ${BASE} AS build
ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1 PIP_NO_INPUT=1
RUN python3 -m venv /tools && python3 -m venv --without-pip /opt/ai-gateway
WORKDIR /source

# The two secrets are for networks with a package mirror or a certificate of their own; without them nothing changes.
COPY requirements-build.txt requirements.txt requirements-server.txt ./
ARG REQUIREMENTS=requirements.txt
RUN --mount=type=secret,id=pip,target=/etc/pip.conf --mount=type=secret,id=ca,target=/etc/ssl/build-ca.pem \
    /tools/bin/pip install --require-hashes -r requirements-build.txt && \
    /tools/bin/pip --python /opt/ai-gateway/bin/python install --only-binary :all: --require-hashes -r "$REQUIREMENTS"

COPY pyproject.toml README.md LICENSE ./
COPY gateway_core gateway_core
COPY notebook_ext notebook_ext
COPY server server
COPY webui webui
RUN /tools/bin/pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /wheels . && \
    /tools/bin/pip --python /opt/ai-gateway/bin/python install --no-deps --no-index /wheels/*.whl

# ---- Run: the same base, and what the stage above installed. Byte code comes with it; nothing is written at run time.
FROM ${BASE}
RUN useradd --uid 10001 --user-group --no-create-home --home-dir /nonexistent --shell /usr/sbin/nologin gateway && \
    install --directory --owner 10001 --group 10001 --mode 0700 /state
COPY --from=build /opt/ai-gateway /opt/ai-gateway
COPY --chmod=0755 scripts/container-start scripts/container-health /usr/local/bin/

ENV PATH=/opt/ai-gateway/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    AI_GATEWAY_HOST=0.0.0.0 \
    AI_GATEWAY_PORT=8000 \
    AI_GATEWAY_STATE_DIR=/state
WORKDIR /state
USER 10001:10001
VOLUME /state
EXPOSE 8000
HEALTHCHECK --interval=30s --timeout=5s --start-period=20s --retries=3 CMD ["container-health"]
ENTRYPOINT ["container-start"]
CMD ["ai-gateway", "serve"]
