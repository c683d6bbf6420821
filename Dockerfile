# The README's commands on a bare Debian 12. They work in this order and no other:
#   docker build -t small-fast-networks .
#   docker run --rm -it --network host small-fast-networks        # opens JupyterLab; its address is printed
#   docker run --rm -it small-fast-networks make run              # the whole course
# JupyterLab listens on 127.0.0.1 alone, hence the network of the host; Docker Desktop wants that turned on in its
# settings.
FROM debian:12 AS system
RUN apt-get update && \
    apt-get install -y --no-install-recommends ca-certificates git make python3 python3-venv && \
    rm -rf /var/lib/apt/lists/*

FROM system
WORKDIR /course
COPY . .
RUN make run ONLY=00
CMD ["make", "lab"]
