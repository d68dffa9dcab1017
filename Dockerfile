# One binary, nothing else. Building needs Debian's and npm's packages only.

FROM debian:bookworm-slim AS build
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates nodejs npm \
 && rm -rf /var/lib/apt/lists/*
WORKDIR /build
COPY package.json bun.lock bunfig.toml ./
COPY patches ./patches
RUN npx -y bun@1.4.5 install --frozen-lockfile
COPY tsconfig.json ./
COPY migrations ./migrations
COPY scripts ./scripts
COPY src ./src
RUN npx -y bun@1.4.5 run build

FROM debian:bookworm-slim
LABEL org.opencontainers.image.title="pgstream" \
      org.opencontainers.image.description="An event stream on plain PostgreSQL: one binary, no broker." \
      org.opencontainers.image.licenses="MIT"
# /data is for those who keep the consumer's store in SQLite: mount a volume there, and set STORE_URL.
RUN apt-get update \
 && apt-get install -y --no-install-recommends ca-certificates \
 && rm -rf /var/lib/apt/lists/* \
 && install -d -o 65532 -g 65532 /data
COPY --from=build /build/dist/pgstream /usr/local/bin/pgstream
USER 65532:65532
WORKDIR /
EXPOSE 1337 1338 1339
STOPSIGNAL SIGTERM
# Finds the port as the server does, so ROLES (and PORT, if any) must be given in the environment, not only as flags.
HEALTHCHECK --interval=10s --timeout=5s --start-period=30s CMD ["/usr/local/bin/pgstream", "health"]
ENTRYPOINT ["/usr/local/bin/pgstream"]
