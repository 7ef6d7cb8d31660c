# Prometheus from Debian, for where no registry has prom/prometheus:
#
#   docker build -t higuma-prometheus - < deploy/prometheus.Dockerfile
#   HIGUMA_PROMETHEUS=higuma-prometheus COMPOSE_PROFILES=prometheus make lab-up
ARG BASE=debian:bookworm-slim
FROM ${BASE}
RUN apt-get update && apt-get install -y --no-install-recommends prometheus \
    && rm -rf /var/lib/apt/lists/* && install -d -o nobody -g nogroup /prometheus
USER nobody
ENTRYPOINT ["prometheus"]
