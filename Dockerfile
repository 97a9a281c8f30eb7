# syntax=docker/dockerfile:1
# The shop in one image: `commerce` with the four plugins. What it does is its command: web, worker, scheduler, realtime, db.
# The Python that the tests run on.
FROM python:3.11-slim-bookworm AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
RUN python -m venv /opt/commerce
WORKDIR /build
COPY constraints.txt pyproject.toml setup.cfg README.md LICENSE ./
COPY commerce_core/ commerce_core/
COPY plugins/ plugins/
RUN /opt/commerce/bin/pip install --constraint constraints.txt \
        . ./plugins/pricing_rules ./plugins/stripe_payments "./plugins/search[tantivy,opensearch]" ./plugins/realtime \
    && /opt/commerce/bin/python -m compileall -q /opt/commerce/lib

FROM python:3.11-slim-bookworm

LABEL org.opencontainers.image.title="commerce" org.opencontainers.image.licenses="MIT"
RUN groupadd --gid 10001 commerce \
    && useradd --uid 10001 --gid commerce --no-create-home --home-dir /tmp --shell /usr/sbin/nologin commerce
COPY --from=build /opt/commerce /opt/commerce
COPY production.ini /app/production.ini

# Nothing is written but to TMPDIR, so the file system may be read-only.
ENV PATH=/opt/commerce/bin:$PATH \
    PYTHONDONTWRITEBYTECODE=1 \
    PYTHONUNBUFFERED=1 \
    COMMERCE_CONFIG=/app/production.ini \
    TMPDIR=/tmp
WORKDIR /app
USER 10001:10001
EXPOSE 6543 6001
STOPSIGNAL SIGTERM
# Of the web server; whoever runs something else in it asks for something else.
HEALTHCHECK --interval=30s --timeout=5s --start-period=60s --retries=3 \
    CMD ["python", "-c", "import urllib.request as r; r.urlopen('http://127.0.0.1:6543/healthz', timeout=4)"]
ENTRYPOINT ["commerce"]
CMD ["web", "/app/production.ini", "--host", "0.0.0.0", "--workers", "2"]
