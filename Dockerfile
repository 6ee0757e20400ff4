# syntax=docker/dockerfile:1
# The server and its workers, for processors or, with --build-arg VARIANT=cuda, for NVIDIA cards (deploy/README.md).
ARG PYTHON=3.12
ARG VARIANT=cpu

FROM python:${PYTHON}-slim-bookworm AS base
ENV PATH=/venv/bin:$PATH \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1
WORKDIR /app

FROM base AS installer
RUN python -m venv /venv
COPY constraints.txt ./

# A wheel without CUDA, from where there is such a one; what it needs besides comes with the rest, from the usual place.
FROM installer AS torch-cpu
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --no-deps --constraint constraints.txt --index-url https://download.pytorch.org/whl/cpu torch

# The usual wheel has CUDA with it; of the host it needs the driver alone.
FROM installer AS torch-cuda
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt torch

# hadolint ignore=DL3006
FROM torch-${VARIANT} AS dependencies
WORKDIR /app
COPY pyproject.toml README.md LICENSE ./
# The version alone: what else changes in there need not install everything anew.
COPY sd_api/__init__.py sd_api/
RUN --mount=type=cache,target=/root/.cache/pip \
    pip install --constraint constraints.txt --editable '.[cluster]'

FROM base AS server
# With a number, so that an orchestrator can see that it is not root.
RUN groupadd --gid 10001 server \
    && useradd --uid 10001 --gid server --home-dir /data --no-create-home --shell /usr/sbin/nologin server \
    && install --directory --owner server --group server --mode 700 /data /models
COPY --from=dependencies /venv /venv
COPY --from=dependencies /app /app
COPY server.py ./
COPY sd_api sd_api
COPY deploy/healthcheck.py deploy/
# What is downloaded, and what is kept; everything else may be read-only, with a /tmp in memory.
ENV HF_HOME=/models \
    PYTHONDONTWRITEBYTECODE=1
VOLUME ["/data", "/models"]
USER 10001:10001
EXPOSE 1337
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["python", "deploy/healthcheck.py"]
CMD ["python", "server.py", "--host", "0.0.0.0", "--data", "/data"]
