# The coordinator: one binary on a small Debian, without torch. From the repository's root:
#   docker build --file deploy/docker/coordinator.Dockerfile --tag espalier-coordinator:0.1.0 .
# Or around a binary that is built already, from the folder that holds it (--target prebuilt).

# A dated tag of Debian's is not moved. bookworm has glibc 2.36; what is built on it needs 2.35.
ARG BASE=docker.io/library/debian:bookworm-20260918-slim
ARG RUST=docker.io/library/rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="espalier-coordinator" \
      org.opencontainers.image.description="Splits sweeps of pruned language models into shards, gives them to workers, writes the reports" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Stores' certificates are checked against the system's.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates && rm -rf /var/lib/apt/lists/*
# A user without a name anywhere else, so that a number suffices to say who it is. A volume that is new takes the owner of what it is mounted on.
RUN mkdir -p /home/espalier/.cache && chown -R 65532:65532 /home/espalier
ENV HOME=/home/espalier
USER 65532:65532
WORKDIR /home/espalier
# 7420 gRPC, 7421 probes and metrics.
EXPOSE 7420 7421
ENTRYPOINT ["/usr/local/bin/espalier"]
CMD ["--help"]

FROM runtime AS prebuilt
COPY espalier /usr/local/bin/espalier

FROM ${RUST} AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ make cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
# The workspace's default members: all but the worker, and no torch.
RUN cargo build --locked --release --bin espalier && strip --strip-debug target/release/espalier

FROM runtime AS image
COPY --from=build /src/target/release/espalier /usr/local/bin/espalier
