# The worker with its libtorch, for CPUs or with CUDA 13. From the repository's root:
#   docker build --file deploy/docker/worker.Dockerfile --tag espalier-worker:0.1.0 .
#   docker build --file deploy/docker/worker.Dockerfile --tag espalier-worker:0.1.0-cuda --build-arg CUDA=yes .
# Or around what is built already, from a folder with espalier-worker and lib/ (--target prebuilt).

# A dated tag of Debian's is not moved. bookworm has glibc 2.36; what is built on it needs 2.35.
ARG BASE=docker.io/library/debian:bookworm-20260918-slim
ARG RUST=docker.io/library/rust:1.95.0-slim-bookworm@sha256:d7482085ff5b415f84dba5647ae71606650bdef00db7aeb69f4b3d170c3e4082

FROM ${BASE} AS runtime
ARG VERSION=0.1.0
ARG REVISION=unknown
LABEL org.opencontainers.image.title="espalier-worker" \
      org.opencontainers.image.description="Prunes and evaluates language models for an Espalier coordinator, one device a worker" \
      org.opencontainers.image.licenses="MIT" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
# Stores' certificates are checked against the system's; libstdc++ is libtorch's.
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends ca-certificates libstdc++6 && rm -rf /var/lib/apt/lists/*
# A user without a name anywhere else, so that a number suffices to say who it is. A volume that is new takes the owner of what it is mounted on.
RUN mkdir -p /home/espalier/.cache /opt/espalier/bin && chown -R 65532:65532 /home/espalier
ENV HOME=/home/espalier
# What NVIDIA's container toolkit mounts: the driver's compute library and NVML. Without the toolkit nobody reads them.
ENV NVIDIA_VISIBLE_DEVICES=all NVIDIA_DRIVER_CAPABILITIES=compute,utility
USER 65532:65532
WORKDIR /home/espalier
# 7421 probes and metrics. Nobody calls a worker.
EXPOSE 7421
ENTRYPOINT ["/opt/espalier/bin/espalier-worker"]
CMD ["--help"]

FROM runtime AS prebuilt
# The binary looks for libtorch in ../lib.
COPY lib /opt/espalier/lib
COPY espalier-worker /opt/espalier/bin/espalier-worker

FROM ${RUST} AS libtorch
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends python3 python3-venv && rm -rf /var/lib/apt/lists/*
# As it will lie in the image: what links where stays true.
WORKDIR /opt/espalier
COPY scripts/libtorch.sh scripts/libtorch.sh
ARG CUDA=no
RUN LIBTORCH_CUDA=${CUDA} scripts/libtorch.sh

FROM libtorch AS build
RUN apt-get update -qq && apt-get install -y -qq --no-install-recommends g++ make cmake && rm -rf /var/lib/apt/lists/*
WORKDIR /src
COPY . .
RUN LIBTORCH=/opt/espalier/.libtorch cargo build --locked --release --workspace --bins && strip --strip-debug target/release/espalier-worker

FROM libtorch AS libraries
ARG CUDA=no
# What runs is libtorch and NVIDIA's libraries. The other shared libraries are modules for Python, which no image has (Triton, CUDA's bindings), or nothing here
# opens them: the multi-GPU solver and NVRTC's second build are named by no other library. Without CUDA, those stay that libtorch_cpu.so itself needs (cudart, cupti).
# Last, what the worker opens is asked whether all that it needs is still there.
RUN find .venv-libtorch ! -type d ! \( -path '*/torch/lib/*.so*' -o -path '*/nvidia/*/lib/*.so*' \) -delete \
    && find .venv-libtorch \( -name 'libtorch_python*' -o -name 'libcusolverMg*' -o -name '*.alt.so*' \) -delete \
    && if [ "${CUDA}" = no ]; then find .venv-libtorch -name '*.so*' \( -name '*cuda.so' -o -name '*cuda_linalg.so' -o -name '*nvshmem*' -o -name '*nvrtc*' \) -delete; fi \
    && find .venv-libtorch -type d -empty -delete && find .libtorch -xtype l -delete && rm -rf .libtorch/include scripts \
    && ! ldd .venv-libtorch/lib/python3*/site-packages/torch/lib/libtorch_c*.so | grep 'not found'

FROM runtime AS image
COPY --from=libraries /opt/espalier /opt/espalier
COPY --from=build /src/target/release/espalier-worker /opt/espalier/bin/espalier-worker
