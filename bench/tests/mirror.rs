//! The generator against its own stand-in for a gateway: a clean run is clean, and each kind of error is noticed and counted.

use std::net::{TcpListener, UdpSocket};
use std::process::{Command, Output};
use std::sync::atomic::{AtomicU16, Ordering};

use serde_json::Value;

/// The first port to try: below those that the system gives to outgoing connections, of which the runs make many, and
/// another for each process.
fn first_port() -> u16 {
    18_000 + (std::process::id() % 4_000) as u16 * 3
}

/// Three free addresses for the gateway, the user agents, the XMPP server; none is given twice.
fn addresses() -> [String; 3] {
    static GIVEN: AtomicU16 = AtomicU16::new(0);
    [(); 3].map(|()| {
        loop {
            let address = format!("127.0.0.1:{}", first_port() + GIVEN.fetch_add(1, Ordering::Relaxed));
            if UdpSocket::bind(&address).is_ok() && TcpListener::bind(&address).is_ok() {
                return address;
            }
        }
    })
}

fn bench(words: &str) -> Output {
    let [gateway, phones, server] = addresses();
    Command::new(env!("CARGO_BIN_EXE_entente-bench"))
        .args(["--mirror", "--json", "--strict", "--warmup", "0", "--seconds", "0.5", "--drain", "1"])
        .args(["--gateway-sip", &gateway, "--sip-listen", &phones, "--xmpp-listen", &server])
        .args(words.split_whitespace())
        .output()
        .expect("the generator can be started")
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", String::from_utf8_lossy(&output.stderr)))
}

fn count(direction: &Value, key: &str) -> u64 {
    direction[key].as_u64().unwrap_or_else(|| panic!("no count {key} in {direction}"))
}

#[test]
fn a_clean_run_is_clean_in_both_directions_and_loops() {
    for words in ["--workload both --window 8 --pairs 3", "--workload both --rate 500 --size 1200 --pairs 1"] {
        let output = bench(words);
        let report = json(&output);
        assert_eq!(output.status.code(), Some(0), "{report}");
        for name in ["sip-to-xmpp", "xmpp-to-sip"] {
            let direction = &report["directions"][name];
            assert!(count(direction, "sent") > 50, "{direction}");
            assert_eq!(count(direction, "sent"), count(direction, "delivered"));
            assert_eq!(direction["answered"]["200"], direction["sent"]);
            assert!(direction["delivery_us"]["p50"].as_f64().is_some_and(|time| time > 0.0));
        }
        assert!(report["messages_per_cpu_second"].as_f64().is_some_and(|rate| rate > 0.0));
        assert_eq!(report["gateway_alive"], true);
    }
}

#[test]
fn an_open_loop_sends_as_many_as_its_rate_says() {
    let report = json(&bench("--workload sip-to-xmpp --rate 1000"));
    assert!((495..=505).contains(&count(&report["directions"]["sip-to-xmpp"], "sent")), "{report}");
}

/// Every fault of the stand-in, which comes with each hundredth message, shows in its own column and in no other. The
/// last of these messages has others behind it, as the one that swaps places waits for the next.
#[test]
fn every_kind_of_error_is_noticed() {
    const COLUMNS: [&str; 5] = ["lost", "duplicates", "disordered", "altered", "wrong_address"];
    let shows = |fault: &str, column: &str, workload: &str| {
        let output = bench(&format!("--workload {workload} --rate 1100 --pairs 1 --mirror-fault {fault}"));
        let report = json(&output);
        let direction = &report["directions"][workload];
        let expected = count(direction, "sent") / 100;
        assert_eq!(output.status.code(), Some(1), "{fault}: {report}");
        for other in COLUMNS {
            let wanted = if other == column { expected } else { 0 };
            assert_eq!(count(direction, other), wanted, "{fault} {other}: {report}");
        }
    };
    std::thread::scope(|scope| {
        for (fault, column) in ["lose", "repeat", "swap", "alter", "misaddress"].into_iter().zip(COLUMNS) {
            for workload in ["sip-to-xmpp", "xmpp-to-sip"] {
                scope.spawn(move || shows(fault, column, workload));
            }
        }
    });
}

#[test]
fn a_message_answered_200_and_lost_is_told_from_one_that_was_refused() {
    let report = json(&bench("--workload sip-to-xmpp --rate 1000 --mirror-fault lose"));
    let direction = &report["directions"]["sip-to-xmpp"];
    assert!(count(direction, "lost_accepted") > 0);
    assert_eq!(count(direction, "lost_accepted"), count(direction, "lost"));
    assert_eq!((count(direction, "refused"), count(direction, "unanswered")), (0, 0));
}

#[test]
fn a_refusal_of_the_phone_that_the_xmpp_sender_never_hears_of_is_counted() {
    let report = json(&bench("--workload xmpp-to-sip --rate 400 --sip-answer 404"));
    let direction = &report["directions"]["xmpp-to-sip"];
    assert_eq!(direction["answered"]["404"], direction["sent"]);
    assert_eq!(direction["refused_or_unanswered_and_untold"], direction["sent"]);
}

#[test]
fn a_server_that_stops_reading_shows_in_the_longest_times_of_the_open_loop() {
    let report = json(&bench("--workload sip-to-xmpp --rate 400 --stall-at 0.1 --stall-for 0.3 --pairs 1"));
    let times = &report["directions"]["sip-to-xmpp"]["delivery_us"];
    assert!(times["longest"].as_f64().is_some_and(|time| time > 250_000.0), "{times}");
    assert!(times["p99"].as_f64().is_some_and(|time| time > 200_000.0), "{times}");
    assert_eq!(report["clean"], true);
}

#[test]
fn a_gateway_that_never_connects_is_an_error_not_a_result() {
    let [gateway, phones, server] = addresses();
    let output = Command::new(env!("CARGO_BIN_EXE_entente-bench"))
        .args(["--no-gateway", "--connect-timeout", "0.1"])
        .args(["--gateway-sip", &gateway, "--sip-listen", &phones, "--xmpp-listen", &server])
        .output()
        .expect("the generator can be started");
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("no component connected"));
}
