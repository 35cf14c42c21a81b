#!/bin/sh
# Installs what `make bench` compares against: Debian's DCMTK and Orthanc, and two Python archives in a venv of their own.
# Orthanc's and DCMTK's packages start services by themselves; those are left alone, the benchmark runs its own copies.
set -eu

bench=$(cd "$(dirname "$0")" && pwd)
python=${PYTHON:-python3}
venv="$bench/out/peers-venv"

missing=""
command -v dcmqrscp >/dev/null || missing="$missing dcmtk"
[ -x /usr/sbin/Orthanc ] || missing="$missing orthanc"
[ -e /usr/share/orthanc/plugins/libOrthancDicomWeb.so ] || missing="$missing orthanc-dicomweb"
command -v gcc >/dev/null || missing="$missing gcc libc6-dev"
command -v openssl >/dev/null || missing="$missing openssl"
if [ -n "$missing" ]; then
    as_root=""
    [ "$(id -u)" -eq 0 ] || as_root="sudo"
    $as_root apt-get update
    # shellcheck disable=SC2086  # a list of package names
    DEBIAN_FRONTEND=noninteractive $as_root apt-get install --yes --no-install-recommends $missing
fi

shim="$bench/out/civetweb-ssl"
mkdir -p "$shim"
gcc -shared -fPIC -o "$shim/libssl.so" "$bench/civetweb_ssl.c" -Wl,--no-as-needed -l:libssl.so.3 -l:libcrypto.so.3
ln -sf "$(ldconfig -p | awk '/libcrypto.so.3 /{ print $NF; exit }')" "$shim/libcrypto.so"

[ -x "$venv/bin/python" ] || "$python" -m venv "$venv"
"$venv/bin/python" -m pip install --quiet --requirement "$bench/peers.txt"
"$venv/bin/python" -m pip list --format=freeze | grep -i -E '^(pynetdicom|tiny.pacs|pydicom)='
