//! The generator against its own stand-in for a gateway: a clean run is clean, and each kind of error is noticed and counted.
//!
//! Both may be stopped for seconds while a test runs. Open loops send so few messages that all of them have room in the
//! buffer of a socket, which may have no more than the system's default, and wait long for those that are under way.

use std::process::{Command, Output};

use entente_tests::ports::free_address;
use serde_json::Value;

/// Addresses for the gateway, the user agents, the XMPP server.
fn addresses() -> [String; 3] {
    [(); 3].map(|()| free_address().to_string())
}

fn bench(words: &str) -> Output {
    let [gateway, phones, server] = addresses();
    Command::new(env!("CARGO_BIN_EXE_entente-bench"))
        .args(["--mirror", "--json", "--strict", "--warmup", "0", "--seconds", "0.5", "--drain", "60"])
        .args(["--connect-timeout", "60"])
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

/// The report of a run that must be clean, and how many messages each direction has sent.
fn clean(words: &str) -> (Value, [u64; 2]) {
    let output = bench(words);
    let report = json(&output);
    assert_eq!(output.status.code(), Some(0), "{report}");
    assert_eq!(report["gateway_alive"], true);
    let sent = ["sip-to-xmpp", "xmpp-to-sip"].map(|name| {
        let direction = &report["directions"][name];
        assert_eq!(count(direction, "sent"), count(direction, "delivered"));
        assert_eq!(direction["answered"]["200"], direction["sent"]);
        let sent = count(direction, "sent");
        assert!(sent == 0 || direction["delivery_us"]["p50"].as_f64().is_some_and(|time| time > 0.0), "{direction}");
        sent
    });
    (report, sent)
}

/// The same of a closed loop, which is given more time until it has sent more than a few: how much it does in its time is the
/// machine's affair.
fn clean_and_busy(words: &str) -> (Value, [u64; 2]) {
    for seconds in ["0.5", "5", "50"] {
        let (report, sent) = clean(&format!("{words} --seconds {seconds}"));
        if sent.iter().all(|sent| *sent > 100) {
            return (report, sent);
        }
    }
    panic!("fewer than a hundred messages in 50 s");
}

#[test]
fn a_closed_loop_goes_on_for_as_long_as_it_lasts_and_is_clean() {
    let (report, _) = clean_and_busy("--workload both --window 8 --pairs 3");
    assert!(report["messages_per_cpu_second"].as_f64().is_some_and(|rate| rate > 0.0), "{report}");
}

#[test]
fn with_a_barrier_an_answer_comes_after_two_returns() {
    let (report, [sent, _]) = clean_and_busy("--workload both --window 1 --mirror-barrier");
    assert_eq!(count(&report, "returned_to_component"), 2 * sent, "{report}");
    // Of many that are under way, those that were written in between share the pings.
    let (report, [sent, _]) = clean_and_busy("--workload both --window 64 --mirror-barrier");
    assert!(count(&report, "returned_to_component") < 2 * sent, "{report}");
}

#[test]
fn an_open_loop_sends_as_many_as_its_rate_says_and_is_clean() {
    let (_, sent) = clean("--workload both --rate 150 --size 1200 --pairs 1");
    assert_eq!(sent, [75, 75]);
}

/// Every fault of the stand-in, which comes with each tenth message, shows in its own column and in no other. The
/// last of these messages has others behind it, as the one that swaps places waits for the next.
#[test]
fn every_kind_of_error_is_noticed() {
    const COLUMNS: [&str; 5] = ["lost", "duplicates", "disordered", "altered", "wrong_address"];
    let shows = |fault: &str, column: &str, workload: &str| {
        let output = bench(&format!("--workload {workload} --rate 210 --pairs 1 --mirror-fault {fault}"));
        let report = json(&output);
        let direction = &report["directions"][workload];
        let expected = 10;
        assert_eq!(count(direction, "sent"), 105, "{report}");
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
    let report = json(&bench("--workload sip-to-xmpp --rate 210 --mirror-fault lose"));
    let direction = &report["directions"]["sip-to-xmpp"];
    assert_eq!((count(direction, "lost_accepted"), count(direction, "lost")), (10, 10));
    assert_eq!((count(direction, "refused"), count(direction, "unanswered")), (0, 0));
}

#[test]
fn a_refusal_of_the_phone_that_the_xmpp_sender_never_hears_of_is_counted() {
    let report = json(&bench("--workload xmpp-to-sip --rate 210 --sip-answer 404"));
    let direction = &report["directions"]["xmpp-to-sip"];
    assert_eq!(direction["answered"]["404"], direction["sent"]);
    assert_eq!(direction["refused_or_unanswered_and_untold"], direction["sent"]);
}

/// Whatever else holds it up, a message that is due while the server does not read comes out when that is over at the earliest.
#[test]
fn a_server_that_stops_reading_shows_in_the_longest_times_of_the_open_loop() {
    let report = json(&bench("--workload sip-to-xmpp --rate 210 --stall-at 0.1 --stall-for 0.3 --pairs 1"));
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
