# The package with git and Prefect's server; docs/how-to/containers.md says how to build and run it.
#   TORCH=cpu   without the libraries for NVIDIA cards, where WHEELS names a page of CPU wheels of torch
#   TORCH=cuda  with them
ARG PYTHON=3.11
FROM python:${PYTHON}-slim

ARG TORCH=cpu
ARG WHEELS=

RUN apt-get update \
    && apt-get install --yes --no-install-recommends git openssh-client \
    && rm -rf /var/lib/apt/lists/*

WORKDIR /source
COPY constraints.txt pyproject.toml README.md LICENSE ./
# torch first and by itself: the layer stays while the code changes
RUN case "$TORCH" in cpu|cuda) ;; *) echo "TORCH must be cpu or cuda, got $TORCH." >&2; exit 1;; esac \
    && pins="$(grep -E '^(torch|torchvision)==' constraints.txt)" \
    && pip install --no-cache-dir ${WHEELS:+--find-links "$WHEELS"} \
        $(if [ "$TORCH" = cpu ] && [ -n "$WHEELS" ]; then echo "$pins" | sed 's/$/+cpu/'; else echo "$pins"; fi)

COPY . .
RUN pip install --no-cache-dir --constraint constraints.txt . \
    && install --mode=755 container.sh /usr/local/bin/diva-container \
    && useradd --create-home --uid 1000 diva \
    && install --directory --owner=diva /project

# the project is the host's, so git is told that it may be used whoever owns it
ENV DO_NOT_TRACK=1 PREFECT_SERVER_ANALYTICS_ENABLED=false \
    GIT_CONFIG_COUNT=1 GIT_CONFIG_KEY_0=safe.directory GIT_CONFIG_VALUE_0=/project
USER diva
WORKDIR /project
ENTRYPOINT ["diva-container"]
CMD ["worker"]
