# One image for each service of compose.yaml. Alone, it is Dagster's UI on port 3000:
#   docker build -t co2_assets --build-arg TORCH_INDEX=https://download.pytorch.org/whl/cpu .
FROM python:3.11-slim

# Empty takes torch from PyPI, on Linux with CUDA; the index above has it without.
ARG TORCH_INDEX=""

ENV PIP_NO_CACHE_DIR=1 \
    PIP_DISABLE_PIP_VERSION_CHECK=1 \
    PYTHONUNBUFFERED=1 \
    CO2_HOME=/data \
    DAGSTER_HOME=/data/dagster

WORKDIR /app

# torch first: a layer of its own, so that a change of the code does not load it again.
RUN python -m pip install ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} torch==2.13.0
COPY pyproject.toml constraints.txt README.md LICENSE.md dagster.yaml workspace.yaml ./
COPY co2_assets ./co2_assets
RUN python -m pip install -c constraints.txt '.[serve]'

RUN useradd --create-home --uid 1000 co2 \
    && mkdir /data \
    && chown co2:co2 /data
USER co2
VOLUME /data
EXPOSE 3000 8000 8501

HEALTHCHECK --interval=30s --timeout=10s --start-period=90s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:3000/server_info', timeout=5)"]

CMD ["sh", "-c", "co2 init && exec dagster-webserver -h 0.0.0.0 -p 3000 -w /app/workspace.yaml"]
