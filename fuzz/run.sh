#!/usr/bin/env bash
# Feeds one decoder, or all in turn, for some minutes each. What is found lies in fuzz/artifacts afterwards.
set -euo pipefail
cd "$(dirname "$0")"

targets=(resp requests frames replies mariadb mysql config hello peers gateways sentinel state admin
    gateway-scan gateway-play gateway-proxied gateway-sql)
usage() {
    echo "usage: ./dev fuzz [TARGET] [--minutes N]     (each for 1 minute unless told otherwise)"
    cat <<'TEXT'

  resp      replies, in pieces of any size
  requests  what a client of the Sentinel port sends, as bytes
  frames    what carries letters between controllers
  replies   what a Redis answers: INFO and the like, through a link
  mariadb   what a MariaDB says, from its greeting on, through a link
  mysql     what a MySQL says, likewise
  config    the configuration file, and how its mistakes are shown
  hello     the first words on the peer port
  peers     letters of a broken peer, to a controller that takes them
  gateways  reports of a broken gateway, and orders of a broken controller
  sentinel  whole conversations on the Sentinel port
  state     records of the state file
  admin     HTTP on the admin socket
  gateway-scan  requests and replies as the data plane finds their ends
  gateway-play  sequences of events in the data plane: clients, servers, leases
  gateway-proxied  the header of the PROXY protocol, in pieces
  gateway-sql   MySQL's packets as the data plane follows them, and sequences of events with such clients
TEXT
}

minutes=1 wanted=()
while [ $# -gt 0 ]; do
    case $1 in
        --minutes) minutes=${2:?"--minutes needs a number"}; shift 2 ;;
        -h | --help) usage; exit 0 ;;
        *)
            [[ " ${targets[*]} " == *" $1 "* ]] || { echo "there is no target '$1'" >&2; usage >&2; exit 2; }
            wanted+=("$1"); shift ;;
    esac
done
[[ $minutes =~ ^[0-9]+$ ]] && [ "$minutes" -gt 0 ] || { echo "--minutes takes a whole number from 1" >&2; exit 2; }
[ ${#wanted[@]} -gt 0 ] || { usage >&2; wanted=("${targets[@]}"); }

command -v c++ >/dev/null || { echo "the fuzzer itself is C++: install g++ first" >&2; exit 1; }
if ! cargo fuzz --version >/dev/null 2>&1; then
    echo "installing what is missing: cargo-fuzz" >&2
    cargo install --locked --quiet cargo-fuzz
fi

# The instruments need unstable flags of the compiler. No sanitizer: the code that is tried has no `unsafe`.
export RUSTC_BOOTSTRAP=1
failed=()
for target in "${wanted[@]}"; do
    echo "== $target, $minutes min" >&2
    mkdir -p "corpus/$target"
    cargo fuzz run --fuzz-dir . --sanitizer none "$target" "corpus/$target" "seeds/$target" -- \
        -max_total_time=$((minutes * 60)) -timeout=20 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 ||
        failed+=("$target")
done
[ ${#failed[@]} -eq 0 ] || { echo "found something in: ${failed[*]}; see fuzz/artifacts" >&2; exit 1; }
