# proxtop in a container, for a hypervisor on which nothing shall be installed. It reads the host's /proc and asks its libvirt:
#
#   docker build -t proxtop .
#   docker run -v /proc:/host/proc:ro -v /var/run/libvirt:/var/run/libvirt proxtop --procfs=/host/proc
#
# docs/operations.md tells what else it may be given: a terminal, /sys, a name, the capabilities for --io.
FROM debian:bookworm-slim AS build
RUN apt-get update -q && apt-get install -q -y --no-install-recommends make ca-certificates
COPY . /src
WORKDIR /src
RUN make install DESTDIR=/image prefix=/usr

FROM debian:bookworm-slim
RUN apt-get update -q && apt-get install -q -y --no-install-recommends python3.11 libvirt0 && rm -rf /var/lib/apt/lists/*
COPY --from=build /image /
ENTRYPOINT ["/usr/bin/proxtop"]
