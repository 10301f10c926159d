#!/bin/sh
# What a container does: server, worker, healthy, or any command.
set -eu

case "${1:-worker}" in
server)
    # the address is the container's own; what is published to the host is said in compose.yaml
    exec prefect server start --host "${PREFECT_SERVER_API_HOST:-0.0.0.0}" --port "${PREFECT_SERVER_API_PORT:-4200}"
    ;;
healthy)
    address="http://127.0.0.1:${PREFECT_SERVER_API_PORT:-4200}/api/health"
    exec python -c 'import sys, urllib.request; urllib.request.urlopen(sys.argv[1], timeout=5)' "$address"
    ;;
worker)
    if [ ! -f params.yaml ]; then
        echo "No project lies in $PWD: begin one by diva init --core SOURCE, or by diva demo." >&2
        exit 1
    fi
    prefect work-pool inspect nightly >/dev/null 2>&1 || prefect work-pool create nightly --type process
    prefect --no-prompt deploy --all
    exec prefect worker start --pool nightly --type process
    ;;
*)
    exec "$@"
    ;;
esac
