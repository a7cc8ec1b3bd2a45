#!/bin/sh
# Install the browser that tests/explore opens pages in, where apt-get can and this user may; says in one line where not.

complete() { for program in chromium chromedriver; do command -v $program >/dev/null || return 1; done; }
complete && exit 0
if ! command -v apt-get >/dev/null; then
    echo "The tests of payneflow explore need chromium and chromedriver; there is no apt-get to install them." >&2; exit 0
fi
if [ "$(id -u)" = 0 ]; then root=""; else root="sudo -n"; fi
echo "Installing a browser for the tests of payneflow explore (once, a minute) ..."
log=$(mktemp)
{ $root apt-get update -qq && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends \
    chromium chromium-driver; } >"$log" 2>&1
complete || { echo "A browser could not be installed: $(tail -n 1 "$log")" >&2; exit 0; }
rm -f "$log"
