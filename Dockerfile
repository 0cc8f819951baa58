# Rundial's server. docker build -t rundial . && docker run -p 127.0.0.1:8787:8787 -v rundial:/data rundial

FROM node:22-slim AS page
WORKDIR /src/ui
COPY ui/package.json ui/package-lock.json ./
RUN npm ci --no-audit --no-fund
COPY ui ./
RUN npm run build

FROM python:3.12-slim AS wheel
WORKDIR /src
COPY pyproject.toml README.md LICENSE ./
COPY rundial rundial
COPY rundial_sdk rundial_sdk
COPY --from=page /src/rundial/server/static rundial/server/static
RUN pip wheel --no-cache-dir --no-deps --wheel-dir /wheels .

FROM python:3.12-slim
# pg_dump and pg_restore, for `rundial server backup` with --database.
RUN apt-get update \
    && apt-get install --yes --no-install-recommends postgresql-client \
    && rm -rf /var/lib/apt/lists/* \
    && useradd --uid 10001 --create-home rundial \
    && install --directory --owner=rundial --mode=0700 /data
COPY --from=wheel /wheels /wheels
RUN pip install --no-cache-dir "$(echo /wheels/rundial-*.whl)[postgres,s3]"
ENV RUNDIAL_HOME=/data PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
USER 10001
VOLUME /data
EXPOSE 8787
STOPSIGNAL SIGTERM
HEALTHCHECK --interval=10s --timeout=6s --start-period=20s --retries=3 \
    CMD ["python", "-c", "from urllib.request import urlopen; urlopen('http://127.0.0.1:8787/health/ready', timeout=5)"]
ENTRYPOINT ["rundial", "server"]
CMD ["--host", "0.0.0.0", "--data", "/data/server", "--log-format", "json"]
