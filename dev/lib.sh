# What the scripts of this folder share; sourced by bash.

# Installs the Debian packages that are missing. Packages start their services on install; the tests start
# their own, on their own ports, so no service is started here.
install_packages() {
  local missing=() package
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' || missing+=("$package")
  done
  [ "${#missing[@]}" -gt 0 ] || return 0
  (
    export DEBIAN_FRONTEND=noninteractive
    trap 'rm -f /usr/sbin/policy-rc.d' EXIT
    printf '#!/bin/sh\nexit 101\n' >/usr/sbin/policy-rc.d
    chmod +x /usr/sbin/policy-rc.d
    apt-get update -qq && apt-get install -y -qq --no-install-recommends "${missing[@]}" >/dev/null
  )
}

# The first of so many free ports in a row: two runs on one machine do not meet.
free_ports() {
  "${PYTHON:-python3}" - "$1" <<'PYTHON'
import random, socket, sys

def free(port):
    with socket.socket() as probe:
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
        return True

count = int(sys.argv[1])
while True:
    first = random.randrange(20000, 32000)  # below those that the kernel gives away
    if all(free(first + n) for n in range(count)):
        print(first)
        break
PYTHON
}
