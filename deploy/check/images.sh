#!/usr/bin/env bash
# Builds both images around built binaries, starts them as the manifests do (their own user, a read-only root file system) over an
# S3-compatible store, and lets them do a sweep.
#
#   deploy/check/images.sh target/debug
#
# With a Docker engine where one answers; else as root with buildah, a base image by debootstrap, and the image's files under a chroot; else
# nothing, and it says so. Nothing is left but the base (IMAGES_BASE, default target/images/base), which takes a minute to make.
set -euo pipefail
cd "$(dirname "$0")/../.."
bins=$(realpath "$1")
work=$(mktemp -d /tmp/espalier-images.XXXXXX)
base=${IMAGES_BASE:-target/images/base}
user=65532
pids=()
containers=()

say() { echo "images: $*"; }
fail() { tail -n 20 "$work"/*.log >&2 || true; echo "FAIL images: $*" >&2; exit 1; }

if docker info >/dev/null 2>&1; then
    engine=docker
elif [ "$(id -u)" = 0 ] && command -v buildah >/dev/null && command -v debootstrap >/dev/null; then
    engine=buildah
    export BUILDAH_ISOLATION=chroot
    buildah() { command buildah --root "$work/storage" --runroot "$work/run" "$@"; }
else
    rm -rf "$work"
    echo "SKIPPED images: no Docker engine answers, and buildah and debootstrap, as root, are not all here: the images were neither built nor started"
    exit 0
fi

leave() {
    # A worker that is stopped first is heard by its coordinator.
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null && wait "$pid" 2>/dev/null || true; done
    case $engine in
        docker) for name in "${containers[@]}"; do docker rm --force "$name" >/dev/null 2>&1 || true; done ;;
        buildah) buildah umount --all >/dev/null 2>&1 || true; buildah rm --all >/dev/null 2>&1 || true ;;
    esac
    rm -rf --one-file-system "$work"
}
trap leave EXIT

# What an image is made of: the binary without debugging information, and for the worker the libraries that its libtorch consists of.
stage() {
    mkdir -p "$work/coordinator" "$work/worker/lib"
    strip --strip-debug -o "$work/coordinator/espalier" "$bins/espalier"
    strip --strip-debug -o "$work/worker/espalier-worker" "$bins/espalier-worker"
    local torch=${LIBTORCH:-.libtorch} lib
    for lib in "$torch"/lib/*.so*; do
        case "$lib" in
            */libtorch.so|*cuda.so|*cuda_linalg.so|*nvshmem*|*nvrtc*) ;;
            *) cp -L "$lib" "$work/worker/lib/" ;;
        esac
    done
    ln -sf libtorch_cpu.so "$work/worker/lib/libtorch.so"
}

make_base() {
    if [ ! -e "$base/etc/debian_version" ]; then
        say "debootstrap makes $base"
        mkdir -p "$base"
        debootstrap --variant=minbase bookworm "$base" "$(sed -n 's/^URIs: //p; s/^deb \(http[^ ]*\) .*/\1/p' /etc/apt/sources.list /etc/apt/sources.list.d/* 2>/dev/null | head -1)" \
            > "$work/debootstrap.log" 2>&1 || { rm -rf "$base"; fail "debootstrap"; }
    fi
    local container
    container=$(buildah from scratch)
    buildah add --quiet "$container" "$base" / >/dev/null
    buildah commit --quiet "$container" localhost/espalier-base >/dev/null
    buildah rm "$container" >/dev/null
}

build() { # NAME
    local arguments=(--target prebuilt --build-arg REVISION="$(git rev-parse HEAD)" --file "deploy/docker/$1.Dockerfile" --tag "espalier-$1:check")
    case $engine in
        docker) docker build --quiet "${arguments[@]}" "$work/$1" > "$work/build-$1.log" 2>&1 ;;
        buildah) buildah build --build-arg BASE=localhost/espalier-base "${arguments[@]}" "$work/$1" > "$work/build-$1.log" 2>&1 ;;
    esac || fail "building $1"
}

describe() { # NAME FORMAT: of docker's and buildah's description of an image
    case $engine in
        docker) docker inspect --format "{{$2}}" "espalier-$1:check" ;;
        buildah) buildah inspect --type image --format "{{.OCIv1$2}}" "espalier-$1:check" ;;
    esac
}

start() { # NAME, then VARIABLE=VALUE …, then --, then arguments. In the background; its output is NAME.log.
    local name=$1 variables=() root
    shift
    while [ "$1" != -- ]; do variables+=("$1"); shift; done
    shift
    case $engine in
        docker)
            docker run --name "espalier-check-$name" --network host --read-only --cap-drop ALL --security-opt no-new-privileges \
                --tmpfs /tmp --tmpfs "/home/espalier/.cache:uid=$user" "${variables[@]/#/--env=}" "espalier-$name:check" "$@" > "$work/$name.log" 2>&1 &
            containers+=("espalier-check-$name") ;;
        buildah)
            root=$(buildah mount "$(buildah from "localhost/espalier-$name:check")")
            # Read-only but for what the manifests mount; the user has no capability.
            unshare --mount --propagation private bash -euc '
                root=$1; user=$2; entry=$3; shift 3
                mount --bind "$root" "$root" && mount -o remount,bind,ro "$root"
                mount -t proc proc "$root/proc" && mount --rbind /dev "$root/dev"
                mount -t tmpfs tmpfs "$root/tmp" && mount -t tmpfs -o "uid=$user" tmpfs "$root/home/espalier/.cache"
                variables=(); while [ "$1" != -- ]; do variables+=("$1"); shift; done; shift
                exec setpriv --no-new-privs chroot --userspec="$user:$user" --groups= "$root" /usr/bin/env -i HOME=/home/espalier "${variables[@]}" "$entry" "$@"
            ' start "$root" $user "$(describe "$name" .Config.Entrypoint | tr -d '[]')" "${variables[@]}" -- "$@" > "$work/$name.log" 2>&1 & ;;
    esac
    pids=("$!" "${pids[@]}")
}

heard() { # NAME PATTERN: what the pattern finds in NAME.log, once it does
    local i
    for i in $(seq 300); do
        grep -oE -m 1 "$2" "$work/$1.log" 2>/dev/null && return
        sleep 0.2
    done
    fail "$1 does not say $2"
}

stage
[ $engine = buildah ] && make_base
build coordinator
build worker
for name in coordinator worker; do
    [ "$(describe $name .Config.User)" = $user:$user ] || fail "$name: user: found $(describe $name .Config.User), expected $user:$user"
    describe $name .Config.Labels | grep -q "org.opencontainers.image.revision:$(git rev-parse HEAD)" || fail "$name has no label of its revision"
done

python=.venv-deploy/bin/python
$python -m moto.server --host 127.0.0.1 --port 0 > "$work/store.log" 2>&1 &
pids+=("$!")
store=$(heard store 'http://127.0.0.1:[0-9]+')
curl --silent --fail --request PUT "$store/espalier" > /dev/null || fail "no bucket could be made"
keys=(AWS_ENDPOINT_URL="$store" AWS_ALLOW_HTTP=true AWS_REGION=us-east-1 AWS_ACCESS_KEY_ID=espalier AWS_SECRET_ACCESS_KEY=espalier-local)

start coordinator "${keys[@]}" ESPALIER_BUCKET=s3://espalier ESPALIER_BACKEND=cpu -- coordinator --listen 127.0.0.1:0 --http 127.0.0.1:0 --output json
coordinator=$(heard coordinator '"address": "[^"]+' | cut -d'"' -f4)
# Before there is a worker, as users may: the coordinator is told what they will be.
scoring=$PWD/tests/goldens/scoring
cat > "$work/sweep.yaml" <<SWEEP
name: images
models: [$scoring/phi-nobos]
calibration: {data: $scoring/data/rows.txt, nsamples: 2, seqlen: 32}
recipes: [{method: wanda, sparsity: [0.5]}]
tasks: [{task: wikitext2, data: $scoring/data/rows.txt, seqlen: 32}]
SWEEP
"$bins/espalier" submit "$work/sweep.yaml" --coordinator "$coordinator" > "$work/submit.log" 2>&1 || fail "submit"
start worker "${keys[@]}" ESPALIER_COORDINATOR="$coordinator" -- --http 127.0.0.1:0
heard worker 'bucket is shared' > /dev/null

# A store that cannot be opened: the exit code that a Job's policy (kubernetes/components/indexed-job) relies on.
code=0
env "${keys[@]}" AWS_CA_BUNDLE=/nowhere HOME="$work" "$bins/espalier-worker" --coordinator "$coordinator" > "$work/stranger.log" 2>&1 || code=$?
[ $code = 5 ] || fail "a worker whose bucket cannot be opened ended with $code, expected 5"

"$bins/espalier" watch images --coordinator "$coordinator" > "$work/watch.log" 2>&1 || fail "the sweep did not end whole"

for process in worker coordinator; do
    pid=${pids[0]}
    case $engine in
        docker) docker exec espalier-check-$process touch /here 2>/dev/null && fail "$process: its root file system can be written"
                docker stop --time 60 espalier-check-$process >/dev/null
                code=$(docker inspect --format '{{.State.ExitCode}}' espalier-check-$process) ;;
        buildah) grep -qE "^Uid:\s$user\s$user\s" "/proc/$pid/status" || fail "$process does not run as $user"
                grep -q '^CapEff:\s0*$' "/proc/$pid/status" || fail "$process has capabilities"
                grep -qE '^\S+ / \S+ ro,' "/proc/$pid/mounts" || fail "$process: its root file system can be written"
                kill -TERM "$pid"; code=0; wait "$pid" || code=$? ;;
    esac
    # A worker that was told to leave says that work may be left.
    [ "$process $code" = "worker 8" ] || [ "$process $code" = "coordinator 0" ] || fail "$process ended with $code on SIGTERM"
    pids=("${pids[@]:1}")
done
du -sm "$work/coordinator" "$work/worker" | while read -r mib what; do say "$(basename "$what"): $mib MiB beside its base"; done
say "built with $engine, started as user $user on a read-only root file system, and a sweep done over a store: ok"
