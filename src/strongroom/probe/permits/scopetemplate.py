"""The scope that ``init-scope`` prints: it runs against this host alone, and says what every key means. Pure."""

from __future__ import annotations

import datetime as dt
from typing import Final

_HOURS: Final = 24

_TEMPLATE: Final = """\
# Scope of a test with strongroom probe: what may be sent to whom, when, and who said so.
# Fill it in, have it signed by whoever authorises the test, and run it:
#   strongroom probe sign SCOPE --key KEY
#   strongroom probe --scope SCOPE
# Whatever is changed here afterwards has to be signed again. A line that begins with # shows a default.

format = 1

# What the test is called in its report.
name = "this host"

# From where the probe looks; an open port means something else from each.
# One of: loopback, lan, vpn, internet, other.
vantage = "loopback"

# How far the test goes; each level includes those above it.
#   L0  TCP connections and TLS handshakes: nothing is asked
#   L1  associations and C-ECHO, HTTP requests that name no study
#   L2  queries that count and name nobody, retrievals of UIDs that no object has
#   L3  a synthetic object is written, read and overwritten; the report says how to remove it
level = "L1"

[authorisation]
# Who authorises the test: name and role.
by = ""
# Whom to call if something goes wrong during the test: a telephone number or an address.
contact = ""
# A contract, a ticket or a letter, if there is one.
# reference = ""

[window]
# No packet leaves before start or after end. At most 366 days.
start = {start}
end = {end}
# On each day only between these times, in the time zone of start; the second may be after midnight.
# daily_from = 22:00:00
# daily_until = 05:00:00

[rates]
# Seconds between two connections to one address. There is never more than one at a time. At least 0.1.
# Over one that is open at most four HTTP requests are sent in that time.
# interval_s = 1.0
# Connections that a whole run may open to one address: 1 to 100.
# connections_per_target = 100
# Addresses that are looked at at the same time: 1 to 256.
# targets_at_once = 8
# Longest wait for a connection, for an answer, and the longest life of a connection, in seconds.
# connect_s = 5.0
# answer_s = 10.0
# connection_s = 60.0
# A server that sends more on one connection is cut off.
# max_received_bytes = 4194304

[consent]
# Addresses such as 10.0.0.1 are everybody's: true once you have made sure that this is the network you mean.
private_addresses = false
# Try up to 20 titles that vendors print in their documents.
guess_titles = false
# Try the user name and password that the product ships with, once for each product.
default_credentials = false
# Hold an association open for up to a minute and say nothing.
idle = false
# Write synthetic objects into the archive. Level L3 needs it.
write_canary = false

# One table for each system. Two may have one address: a port that is in both belongs to the first.
[[target]]
name = "this host"
# Addresses and ranges: ["10.0.0.5", "10.0.1.0/24", "fd00::5"].
addresses = ["127.0.0.1"]
# The name of the system, if certificates and web servers know it by one. All addresses that it resolves to have to
# be listed above; if it leads anywhere else, nothing is sent.
# host = "pacs.example.org"
# Addresses and ranges in the above that are left alone. Scanners and consoles are fragile: list them here.
# exclude = []
# A range needs this: true says that every scanner and console in it is excluded.
# no_modalities = false
# Where DICOM is looked for, plain and with TLS; where HTTP is; and ports of other services that are only connected to.
# dicom_ports = [104, 11112, 4242, 2761, 2762]
# http_ports = [80, 443, 8042, 8080, 8443]
# Where DICOMweb services are, if at no usual path: asked before those.
# dicomweb_roots = []
# neighbour_ports = [389, 445, 1433, 1521, 2575, 3306, 3389, 5432, 6379, 9200, 27017]
# Titles that the system knows. Everything is asked with those of a stranger too.
# called_title = "ANY-SCP"
# calling_title = "STRONGROOM-PRB"
# A client certificate with its chain, and its key without a passphrase (PEM), for what is asked as somebody known.
# Names of files start from where this file lies.
# client_certificate = ""
# client_key = ""
# What you expect to find: closed, mutual-tls, tls, titles, open. Where it is closed, a port that answers is
# a finding.
# posture = "mutual-tls"
# How it is proved that a public address is yours: "dns" (a TXT record below its own name) or "token" (a file that it
# serves). strongroom probe --dry-run says what to lay where.
# ownership = "none"
"""


def scope_template(now: dt.datetime) -> str:
    """Return a scope for this host with a window of a day from ``now`` on; who authorises it is left open."""
    start = now.replace(minute=0, second=0, microsecond=0)
    return _TEMPLATE.format(start=start.isoformat(), end=(start + dt.timedelta(hours=_HOURS)).isoformat())
