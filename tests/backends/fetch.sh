#!/usr/bin/env bash
# Fetches the servers that `make test-backends` starts into the folder given: the jars that the pom.xml beside each
# backend names, through Maven. What is there already is not fetched again.
set -euo pipefail
cd "$(dirname "$0")"
folder=${1:?usage: fetch.sh FOLDER}

# Debian's package for a command that is missing.
need() {
    local command=$1 package=$2
    if command -v "$command" >/dev/null 2>&1; then
        return
    fi
    echo "backends: no $command, installing $package with apt"
    local sudo=()
    if [ "$(id -u)" != 0 ]; then
        sudo=(sudo)
    fi
    "${sudo[@]}" apt-get update
    "${sudo[@]}" apt-get install --yes --no-install-recommends "$package"
}

# The jars of a backend, whose name and version make the folder's name.
jars() {
    local name=$1 version
    version=$(sed -n 's|^  <version>\(.*\)</version>$|\1|p' "$name/pom.xml")
    local target="$folder/$name-$version"
    if [ -d "$target" ]; then
        echo "backends: $name $version is there"
        return
    fi
    echo "backends: fetching $name $version into $target"
    need mvn maven
    # Beside it first, so that a half-done one is not taken for whole.
    rm -rf "$target.part"
    mvn --quiet --batch-mode --file "$name/pom.xml" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$target.part"
    mv "$target.part" "$target"
}

mkdir -p "$folder"
folder=$(cd "$folder" && pwd)
need java openjdk-17-jre-headless
# The Kafka client is C.
need g++ g++
need make make
need pkg-config pkg-config
if ! pkg-config --exists openssl; then
    need openssl-headers-of-libssl libssl-dev
fi
# Debian starts the service of a server that it installs, which tests have no use for.
if ! command -v redis-server >/dev/null 2>&1; then
    need redis-server redis-server
fi
if ! command -v clamd >/dev/null 2>&1; then
    need clamd clamav-daemon
fi
need haproxy haproxy
s3s=$(sed -n 's|^const S3S_FS: &str = "s3s-fs-\(.*\)";$|\1|p' src/s3.rs)
if [ -d "$folder/s3s-fs-$s3s" ]; then
    echo "backends: s3s-fs $s3s is there"
else
    echo "backends: building s3s-fs $s3s into $folder/s3s-fs-$s3s"
    rm -rf "$folder/s3s-fs.part"
    cargo install --quiet --locked --features binary --root "$folder/s3s-fs.part" "s3s-fs@$s3s"
    mv "$folder/s3s-fs.part" "$folder/s3s-fs-$s3s"
fi
for pom in */pom.xml; do
    jars "$(dirname "$pom")"
done
