-- One XMPP domain on loopback; its external components follow at the end.
run_as_root = true
daemonize = false
pidfile = "@FOLDER@/prosody.pid"
data_path = "@FOLDER@/data"
log = { { levels = { min = "debug" }, to = "console" } }

interfaces = { "127.0.0.1" }
c2s_ports = { @C2S_PORT@ }
component_interfaces = { "127.0.0.1" }
component_ports = { @COMPONENT_PORT@ }

-- Passwords cross loopback only, and no test is about the TLS of its peers.
c2s_require_encryption = false
allow_unencrypted_plain_auth = true
authentication = "internal_plain"

modules_enabled = { "roster", "saslauth", "disco", "ping", "carbons", "posix" }
modules_disabled = { "s2s", "tls" }

VirtualHost "@DOMAIN@"
