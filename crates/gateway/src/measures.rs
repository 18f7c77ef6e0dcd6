//! The engine's counters as metrics.

use crate::telemetry::Metrics;
use cpim::{Reason, Side};

/// Adds everything the engine counts. Each counter is taken out by its name, so that none is forgotten.
pub fn measure(counters: &engine::Counters, metrics: &mut Metrics) {
    let engine::Counters {
        relay,
        sip,
        sip_connections,
        sip_routes,
        sip_repeats,
        failing_next_hops,
        xmpp,
        late_failures,
        in_flight,
        xmpp_up,
        journal,
    } = counters;
    self::relay(relay, metrics);
    let help = "Failures that came after their message was answered.";
    metrics.counter("entente_late_failures_total", help, &[], *late_failures);
    metrics.gauge("entente_operations_in_flight", "Operations without a response yet.", &[], *in_flight as u64);
    let help = "Whether every component stream stands.";
    metrics.gauge("entente_component_streams_up", help, &[], u64::from(*xmpp_up));
    self::sip(sip, metrics);
    self::sip_connections(sip_connections, metrics);
    self::sip_routes(sip_routes, metrics);
    let help = "Next hops that failed when they were last asked.";
    metrics.gauge("entente_sip_failing_next_hops", help, &[], *failing_next_hops as u64);
    self::sip_repeats(sip_repeats, metrics);
    self::xmpp(xmpp, metrics);
    self::journal(&journal.unwrap_or_default(), metrics);
}

fn journal(counters: &engine::journal::Counters, metrics: &mut Metrics) {
    let engine::journal::Counters {
        stored,
        restored,
        attempts,
        possible_duplicates,
        delivered,
        expired,
        refused,
        dropped,
        known,
        damaged,
        full,
        broken,
        slow,
        handed_over,
        not_handed_over,
        entries,
        octets,
        conversations,
        failure,
    } = *counters;
    let mut count = |name, help, value| metrics.counter(name, help, &[], value);
    count("entente_journal_stored_total", "Messages kept because their destination was away.", stored);
    count("entente_journal_restored_total", "Entries found at the start.", restored);
    count("entente_journal_attempts_total", "Attempts to deliver an entry.", attempts);
    count(
        "entente_journal_possible_duplicates_total",
        "Attempts to deliver an entry whose message may have been delivered before.",
        possible_duplicates,
    );
    count(
        "entente_journal_known_total",
        "Requests that came again while their message was kept, or soon after.",
        known,
    );
    for (end, value) in [("delivered", delivered), ("expired", expired), ("refused", refused), ("dropped", dropped)] {
        let help = "Entries that ended, by how: dropped are those that an operator dropped.";
        metrics.counter("entente_journal_ended_total", help, &[("end", end)], value);
    }
    metrics.counter("entente_journal_damaged_total", "Entries that cannot be read.", &[], damaged);
    for (reason, value) in [("full", full), ("broken", broken), ("slow", slow)] {
        let help = "Messages that were not kept although they should have been, by reason.";
        metrics.counter("entente_journal_refused_total", help, &[("reason", reason)], value);
    }
    for (result, value) in [("done", handed_over), ("failed", not_handed_over)] {
        let help = "Attempts to hand over a message that was accepted and cannot be delivered.";
        metrics.counter("entente_journal_dead_letters_total", help, &[("result", result)], value);
    }
    let mut gauge = |name, help, value| metrics.gauge(name, help, &[], value);
    gauge("entente_journal_entries", "Entries.", entries as u64);
    gauge("entente_journal_bytes", "Octets of the entries.", octets as u64);
    gauge("entente_journal_conversations", "Conversations with entries.", conversations as u64);
    gauge(
        "entente_journal_failing",
        "Whether the store did not do what it was told last.",
        u64::from(failure.is_some()),
    );
}

/// [`cpim::durations::BOUNDS`] in seconds.
const BOUNDS: [&str; cpim::durations::BOUNDS.len()] =
    ["0.001", "0.005", "0.02", "0.1", "0.5", "1", "2", "3.5", "8", "32"];

fn relay(counters: &cpim::Counters, metrics: &mut Metrics) {
    let cpim::Counters { messages, refused, success, failure, indeterminate, durations, reasons } = *counters;
    for side in [Side::Sip, Side::Xmpp] {
        let (place, word) = (side as usize, side.as_str());
        let labels = [("side", word), ("operation", "message")];
        let help = "Operations by the side they came from.";
        metrics.counter("entente_operations_received_total", help, &labels, messages[place]);
        let help = "Operations that the relay refused, by the side they came from.";
        metrics.counter("entente_operations_refused_total", help, &labels, refused[place]);
        for (status, values) in [("success", &success), ("failure", &failure), ("indeterminate", &indeterminate)] {
            let labels = [("side", word), ("operation", "message"), ("status", status)];
            let help = "Responses by the side that the operation came from.";
            metrics.counter("entente_operations_concluded_total", help, &labels, values[place]);
        }
        let help = "How long operations took until their response, by the side that they came from.";
        let labels = [("side", word), ("operation", "message")];
        let cpim::Durations { classes, sum } = durations[place];
        metrics.histogram("entente_operation_seconds", help, &labels, &BOUNDS, &classes, sum);
    }
    for (reason, value) in Reason::ALL.into_iter().zip(reasons) {
        let help = "Operations that failed, by reason.";
        metrics.counter("entente_failures_total", help, &[("reason", reason.as_str())], value);
    }
}

fn sip(counters: &sip_connector::EndpointCounters, metrics: &mut Metrics) {
    let sip_connector::EndpointCounters {
        received,
        requests_in,
        answers_out,
        abandoned,
        retransmissions_in,
        answers_repeated,
        trying_out,
        requests_out,
        retransmissions_out,
        responses_in,
        provisionals_in,
        timed_out,
        transport_failed,
        acks,
        cancels,
        answers_elsewhere,
        unlogged,
        refused,
        merged,
        overloaded,
        dropped_keep_alive,
        dropped_not_sip,
        dropped_unfinished,
        dropped_no_via,
        dropped_too_long,
        dropped_ack,
        dropped_malformed_response,
        dropped_foreign_response,
        dropped_vias,
        dropped_stray_response,
        dropped_late_answer,
        dropped_no_stream,
        dropped_slow_stream,
    } = *counters;
    let mut count = |name, help, value| metrics.counter(name, help, &[], value);
    count("entente_sip_messages_received_total", "SIP messages received.", received);
    count("entente_sip_requests_received_total", "New server transactions.", requests_in);
    count("entente_sip_answers_sent_total", "Final responses sent for the first time.", answers_out);
    count("entente_sip_requests_abandoned_total", "Requests forgotten without an answer.", abandoned);
    count("entente_sip_retransmissions_received_total", "Requests received again.", retransmissions_in);
    count("entente_sip_answers_repeated_total", "Responses sent again.", answers_repeated);
    count("entente_sip_trying_sent_total", "Provisional responses sent.", trying_out);
    count("entente_sip_requests_sent_total", "Requests sent for the first time.", requests_out);
    count("entente_sip_retransmissions_sent_total", "Requests sent again.", retransmissions_out);
    count("entente_sip_responses_received_total", "Final responses to our requests.", responses_in);
    count("entente_sip_provisional_received_total", "Provisional responses to our requests.", provisionals_in);
    count("entente_sip_timeouts_total", "Our requests that nobody answered.", timed_out);
    count("entente_sip_transport_failures_total", "Our requests that could not be sent.", transport_failed);
    count("entente_sip_acks_total", "ACKs for a refused INVITE.", acks);
    count("entente_sip_cancels_total", "CANCEL requests.", cancels);
    count(
        "entente_sip_answers_elsewhere_total",
        "Responses sent over another connection, their own being gone.",
        answers_elsewhere,
    );
    count("entente_sip_answers_unlogged_total", "Responses too long for the turn log.", unlogged);
    count("entente_sip_malformed_requests_total", "Malformed requests, answered.", refused);
    count("entente_sip_merged_requests_total", "Merged requests, answered.", merged);
    count("entente_sip_overload_refusals_total", "Requests refused for a full table.", overloaded);
    for (reason, value) in [
        ("keep_alive", dropped_keep_alive),
        ("not_sip", dropped_not_sip),
        ("unfinished", dropped_unfinished),
        ("no_via", dropped_no_via),
        ("too_long", dropped_too_long),
        ("ack", dropped_ack),
        ("malformed_response", dropped_malformed_response),
        ("foreign_response", dropped_foreign_response),
        ("vias", dropped_vias),
        ("stray_response", dropped_stray_response),
        ("late_answer", dropped_late_answer),
        ("no_stream", dropped_no_stream),
        ("slow_stream", dropped_slow_stream),
    ] {
        dropped("sip", reason, value, metrics);
    }
}

fn sip_connections(counters: &sip_connector::ConnectionCounters, metrics: &mut Metrics) {
    let sip_connector::ConnectionCounters {
        accepted,
        ordered,
        refused,
        retired,
        pings,
        turned_away,
        made_room,
        idle,
        unfinished,
        broken,
        unread,
    } = *counters;
    let mut count = |name, help, value| metrics.counter(name, help, &[], value);
    count("entente_sip_connections_accepted_total", "TCP connections that SIP peers made.", accepted);
    count("entente_sip_connections_ordered_total", "TCP connections to SIP peers that were ordered.", ordered);
    count("entente_sip_connections_refused_total", "Of those, the ones that were never made.", refused);
    let help =
        "TCP connections that no request is sent over any more, because one had no answer and nothing else came.";
    count("entente_sip_connections_retired_total", help, retired);
    count("entente_sip_keep_alives_total", "Keep-alives that were answered.", pings);
    for (reason, value) in [
        ("too_many", turned_away),
        ("room", made_room),
        ("idle", idle),
        ("unfinished", unfinished),
        ("broken", broken),
        ("unread", unread),
    ] {
        let help = "TCP connections that were closed on SIP peers, by reason.";
        metrics.counter("entente_sip_connections_closed_total", help, &[("reason", reason)], value);
    }
}

fn sip_routes(counters: &sip_connector::RouteCounters, metrics: &mut Metrics) {
    let sip_connector::RouteCounters { moved_unavailable, moved_unreachable, moved_silent, held_off, too_large } =
        *counters;
    for (reason, value) in
        [("unavailable", moved_unavailable), ("unreachable", moved_unreachable), ("silent", moved_silent)]
    {
        let help = "Requests that went on to another next hop, by what was wrong with the one before.";
        metrics.counter("entente_sip_failovers_total", help, &[("reason", reason)], value);
    }
    let help = "Messages refused because every next hop has asked to be left alone.";
    metrics.counter("entente_sip_held_off_total", help, &[], held_off);
    let help = "Messages refused because they were larger than their route takes.";
    metrics.counter("entente_sip_too_large_for_route_total", help, &[], too_large);
}

fn sip_repeats(counters: &sip_connector::RepeatCounters, metrics: &mut Metrics) {
    let sip_connector::RepeatCounters { answered, rejected, without_account, redirected, plainer } = *counters;
    for (outcome, value) in [("answered", answered), ("rejected", rejected), ("without_account", without_account)] {
        let help = "Challenges to our requests, by what came of them; rejected are the credentials of an account.";
        metrics.counter("entente_sip_challenges_total", help, &[("outcome", outcome)], value);
    }
    let help = "Requests sent to where a redirection led.";
    metrics.counter("entente_sip_redirects_followed_total", help, &[], redirected);
    let help = "Requests sent in a plainer form, because a richer one was refused.";
    metrics.counter("entente_sip_plainer_forms_total", help, &[], plainer);
}

fn xmpp(counters: &xmpp_connector::Counters, metrics: &mut Metrics) {
    let xmpp_connector::Counters {
        headlines,
        without_body,
        shown_again,
        presences,
        misaddressed,
        stray_errors,
        unanswerable,
        stanzas,
        told_again,
        pings,
        replaced_characters,
        ups,
        downs,
    } = *counters;
    for (reason, value) in [
        ("headline", headlines),
        ("without_body", without_body),
        ("shown_again", shown_again),
        ("presence", presences),
        ("misaddressed", misaddressed),
        ("stray_error", stray_errors),
    ] {
        dropped("xmpp", reason, value, metrics);
    }
    let help = "Stanzas that got no answer: it would have been too long, or too much waited for the stream.";
    metrics.counter("entente_xmpp_unanswerable_total", help, &[], unanswerable);
    let mut count = |name, help, value| metrics.counter(name, help, &[], value);
    count("entente_xmpp_stanzas_received_total", "Stanzas received.", stanzas);
    let help = "Failures to be told again, because the stream broke before the server had read them for sure.";
    count("entente_xmpp_told_again_total", help, told_again);
    count("entente_xmpp_pings_sent_total", "Pings that ask how far the server has read.", pings);
    count("entente_xmpp_replaced_characters_total", "Characters replaced that XML forbids.", replaced_characters);
    count("entente_xmpp_stream_ups_total", "Times a component stream came to stand.", ups);
    count("entente_xmpp_stream_downs_total", "Times a component stream was lost or could not be made.", downs);
}

fn dropped(side: &'static str, reason: &'static str, value: u64, metrics: &mut Metrics) {
    let help = "What was received and dropped without an answer, by reason.";
    metrics.counter("entente_drops_total", help, &[("side", side), ("reason", reason)], value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_are_spelled_as_they_are() {
        let seconds = cpim::durations::BOUNDS.map(|bound| bound.as_secs_f64());
        assert_eq!(BOUNDS.map(|spelled| spelled.parse::<f64>().unwrap()), seconds);
    }

    #[test]
    fn every_number_has_its_own_name() {
        let mut counters = engine::Counters::default();
        counters.relay.messages = [11, 12];
        counters.relay.reasons[0] = 13;
        counters.xmpp.headlines = 14;
        counters.sip.dropped_not_sip = 15;
        let mut metrics = Metrics::new();
        // The same name with the same labels twice is caught in `add`.
        measure(&counters, &mut metrics);
        for (name, labels, value) in [
            ("entente_operations_received_total", &[("side", "sip"), ("operation", "message")][..], 11),
            ("entente_operations_received_total", &[("side", "xmpp"), ("operation", "message")], 12),
            ("entente_failures_total", &[("reason", "bad_request")], 13),
            ("entente_drops_total", &[("side", "xmpp"), ("reason", "headline")], 14),
            ("entente_drops_total", &[("side", "sip"), ("reason", "not_sip")], 15),
        ] {
            assert_eq!(metrics.value(name, labels), Some(value), "{name} {labels:?}");
        }
    }
}
