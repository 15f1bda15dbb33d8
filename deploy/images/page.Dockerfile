# The page behind incident links: it reaches Temporal and nothing else. The `kafka-runbooks` command is in it too.
#
#     docker build -f deploy/images/page.Dockerfile -t kafka-runbooks-page:0.1.0 .
#
# The build context is the repository. PYTHON_IMAGE names the base image, from a mirror if need be.
ARG PYTHON_IMAGE=python:3.11-slim

FROM ${PYTHON_IMAGE} AS build
WORKDIR /app
RUN pip install --no-cache-dir uv
ENV UV_COMPILE_BYTECODE=1 UV_LINK_MODE=copy UV_PYTHON_DOWNLOADS=never
# Dependencies first, exactly those of the lock file: this layer is rebuilt only when they change. The lock file covers the lab
# too, so uv asks for its metadata; none of it is installed.
COPY pyproject.toml uv.lock ./
COPY deploy/lab/pyproject.toml deploy/lab/
RUN uv sync --locked --no-dev --no-install-workspace
COPY README.md LICENSE ./
COPY kafka_runbooks kafka_runbooks
RUN uv sync --locked --no-dev --no-editable

FROM ${PYTHON_IMAGE}
COPY --from=build /app/.venv /app/.venv
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8080
CMD ["kafka-runbooks-page"]
