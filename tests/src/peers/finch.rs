//! finch: libpurple as a SIP user over TCP, driven over D-Bus on a bus of its own.

use std::process::Command;
use std::time::Duration;

use super::clock::{PATIENCE, wait_for};
use super::folder::Folder;
use super::process::{Process, Program, print_tail, wait_for_socket};
use super::terminal::Terminal;

const FINCH: Program = Program { path: "/usr/bin/finch", package: "finch" };
const DBUS_DAEMON: Program = Program { path: "/usr/bin/dbus-daemon", package: "dbus-daemon" };
const DBUS_SEND: Program = Program { path: "/usr/bin/dbus-send", package: "dbus-bin" };
const DBUS_MONITOR: Program = Program { path: "/usr/bin/dbus-monitor", package: "dbus-bin" };
/// A bus that is open to whoever may open its socket.
const BUS: &str = "<busconfig><type>session</type><listen>unix:path=@SOCKET@</listen><auth>EXTERNAL</auth>\
    <policy context=\"default\"><allow send_destination=\"*\" eavesdrop=\"true\"/><allow eavesdrop=\"true\"/>\
    <allow own=\"*\"/></policy></busconfig>";
/// Its address, which it would otherwise take from whatever interface it finds.
const PREFERENCES: &str = "<?xml version='1.0' encoding='UTF-8' ?>\n<pref version='1' name='/'><pref name='purple'>\
    <pref name='network'><pref name='auto_ip' type='bool' value='0'/>\
    <pref name='public_ip' type='string' value='127.0.0.1'/></pref></pref></pref>\n";
const SERVICE: &str = "im.pidgin.purple.PurpleService";
/// How long it may take to un-register and end.
const QUIT: Duration = Duration::from_secs(2);

/// A registered finch.
#[derive(Debug)]
pub struct Finch {
    terminal: Terminal,
    bus: String,
    account: i32,
    monitor: Process,
    seen: usize,
    // Last, because the others speak over it.
    _bus: Process,
    /// Address of record.
    pub aor: String,
}

impl Finch {
    /// Starts one that registers `aor` (`sip:user@domain`) over TCP at the proxy on `proxy_port`.
    pub fn start(folder: &Folder, aor: &str, proxy_port: u16) -> Self {
        let address = aor.trim_start_matches("sip:");
        let name = format!("finch-{}", address.split('@').next().unwrap_or_default());
        let socket = folder.join(&format!("{name}.bus"));
        let config = folder.write(&format!("{name}/bus.conf"), BUS.replace("@SOCKET@", &socket.display().to_string()));
        let mut command = DBUS_DAEMON.command();
        command.arg("--nofork").arg("--config-file").arg(config);
        let bus_process = Process::start("dbus-daemon", command, &folder.join(&format!("{name}.bus.log")));
        wait_for_socket(&socket);
        let bus = format!("unix:path={}", socket.display());

        let mut command = DBUS_MONITOR.command();
        command.args(["--address", &bus, "type='signal',interface='im.pidgin.purple.PurpleInterface'"]);
        let mut monitor = Process::start("dbus-monitor", command, &folder.join(&format!("{name}.signals")));
        // Who becomes a monitor gives up its name.
        monitor.wait_for_log("member=NameLost");

        let home = folder.make(&name);
        folder.write(&format!("{name}/purple/prefs.xml"), PREFERENCES);
        let home = home.to_str().expect("temporary folders have plain names");
        let program = [FINCH.path(), "-n", "-c", &format!("{home}/purple")];
        let variables = [("HOME", home), ("DBUS_SESSION_BUS_ADDRESS", &bus)];
        let terminal = Terminal::start(folder, &name, &program, &variables);
        let mut finch = Self { terminal, bus, account: 0, monitor, seen: 0, _bus: bus_process, aor: aor.to_owned() };
        wait_for(PATIENCE, || finch.try_call("PurpleAccountsGetAll", &[])).expect("finch comes to the bus");
        let account = finch.call("PurpleAccountNew", &[&text(address), "string:prpl-simple"]);
        finch.account = account;
        let account = format!("int32:{account}");
        finch.call("PurpleAccountSetPassword", &[&account, "string:unused"]);
        finch.call("PurpleAccountSetBool", &[&account, "string:useproxy", "int32:1"]);
        finch.call("PurpleAccountSetString", &[&account, "string:proxy", "string:127.0.0.1"]);
        finch.call("PurpleAccountSetInt", &[&account, "string:port", &format!("int32:{proxy_port}")]);
        finch.call("PurpleAccountSetBool", &[&account, "string:dopublish", "int32:0"]);
        finch.call("PurpleAccountsAdd", &[&account]);
        finch.call("PurpleAccountSetEnabled", &[&account, "string:gnt-purple", "int32:1"]);
        let registered =
            wait_for(PATIENCE, || (finch.call("PurpleAccountIsConnected", &[&account]) == 1).then_some(()));
        assert!(registered.is_some(), "finch does not register {aor}");
        finch
    }

    /// Sends a text, which may have several lines.
    pub fn send(&self, to: &str, body: &str) {
        let account = format!("int32:{}", self.account);
        let peer = to.trim_start_matches("sip:");
        let conversation = self.call("PurpleConversationNew", &["int32:1", &account, &text(peer)]);
        let im = self.call("PurpleConversationGetImData", &[&format!("int32:{conversation}")]);
        // What people type is markup to libpurple.
        let markup = body.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('\n', "<br>");
        self.call("PurpleConvImSend", &[&format!("int32:{im}"), &text(&markup)]);
    }

    /// The sender and the text of the next message, as it came: what it looks like is another matter, because libpurple
    /// shows any text as markup.
    pub fn expect_message(&mut self) -> (String, String) {
        let found = wait_for(PATIENCE, || self.messages().into_iter().nth(self.seen));
        self.seen += 1;
        found.unwrap_or_else(|| panic!("{} waited {PATIENCE:?} for a message", self.aor))
    }

    /// How many messages it has got.
    pub fn messages_got(&self) -> usize {
        self.messages().len()
    }

    /// The sender and the text of each `ReceivedImMsg`: an account, two strings, a conversation, flags.
    fn messages(&self) -> Vec<(String, String)> {
        let log = self.monitor.log();
        let signals = log.split("\nsignal ").filter(|signal| signal.contains(" member=ReceivedImMsg\n"));
        signals
            .filter_map(|signal| {
                let (_, rest) = signal.split_once("\n   string \"")?;
                let (sender, rest) = rest.split_once("\"\n   string \"")?;
                // Strings are not escaped, but the last one ends before the last two numbers.
                let (rest, _) = rest.rsplit_once("\"\n   int32 ")?;
                Some((sender.to_owned(), rest.to_owned()))
            })
            .collect()
    }

    /// Calls a function of libpurple that returns a number or nothing.
    fn call(&self, function: &str, arguments: &[&str]) -> i32 {
        let answer = self.try_call(function, arguments);
        answer.unwrap_or_else(|| panic!("finch of {} does not do {function}", self.aor))
    }

    fn try_call(&self, function: &str, arguments: &[&str]) -> Option<i32> {
        let mut command = Command::new(DBUS_SEND.path());
        command.args(["--print-reply", "--reply-timeout=60000", &format!("--bus={}", self.bus)]);
        command.args([&format!("--dest={SERVICE}"), "/im/pidgin/purple/PurpleObject"]);
        command.arg(format!("im.pidgin.purple.PurpleInterface.{function}")).args(arguments);
        let output = command.output().expect("dbus-send can be run");
        let printed = String::from_utf8_lossy(&output.stdout).into_owned();
        let number = printed.split("int32 ").nth(1).and_then(|number| number.trim().parse().ok());
        output.status.success().then(|| number.unwrap_or_default())
    }
}

impl Drop for Finch {
    fn drop(&mut self) {
        if std::thread::panicking() {
            print_tail("finch, screen", &self.terminal.screen());
        }
        let account = format!("int32:{}", self.account);
        let _ = self.try_call("PurpleAccountDisconnect", &[&account]);
        let _ = self.try_call("PurpleCoreQuit", &[]);
        let _ = wait_for(QUIT, || self.terminal.has_ended().then_some(()));
    }
}

fn text(value: &str) -> String {
    format!("string:{value}")
}
