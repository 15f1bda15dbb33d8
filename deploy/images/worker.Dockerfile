# The worker: workflows, activities and the library, run from source.
#
#     docker build -f deploy/images/worker.Dockerfile -t kafka-runbooks-worker:0.1.0 .
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
COPY activities activities
COPY workflows workflows
COPY worker worker
# The root file system is read-only at run time, so bytecode is compiled here.
RUN python -m compileall -q kafka_runbooks activities workflows worker && rm -rf deploy

FROM ${PYTHON_IMAGE}
COPY --from=build /app /app
# The working directory comes first on Python's path: `workflows` and `worker` are these folders, whatever else is installed.
WORKDIR /app
ENV PATH=/app/.venv/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001:10001
EXPOSE 8080 9090
CMD ["python", "-m", "worker"]
