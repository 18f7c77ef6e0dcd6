//! The engine's counters as metrics.

use crate::telemetry::Metrics;
use cpim::{Reason, Side};

/// Adds everything the engine counts.
pub fn measure(counters: &engine::Counters, metrics: &mut Metrics) {
    relay(&counters.relay, metrics);
    let help = "Failures that came after their message was answered.";
    metrics.counter("entente_late_failures_total", help, &[], counters.late_failures);
    metrics.gauge("entente_operations_in_flight", "Operations without a response yet.", &[], counters.in_flight as u64);
    let help = "Whether every component stream stands.";
    metrics.gauge("entente_component_streams_up", help, &[], u64::from(counters.xmpp_up));
    sip(&counters.sip, metrics);
    sip_connections(&counters.sip_connections, metrics);
    sip_routes(counters, metrics);
    xmpp(&counters.xmpp, metrics);
}

fn relay(counters: &cpim::Counters, metrics: &mut Metrics) {
    for side in [Side::Sip, Side::Xmpp] {
        let (place, word) = (side as usize, side.as_str());
        let labels = [("side", word), ("operation", "message")];
        let help = "Operations by the side they came from.";
        metrics.counter("entente_operations_received_total", help, &labels, counters.messages[place]);
        let help = "Operations that the relay refused, by the side they came from.";
        metrics.counter("entente_operations_refused_total", help, &labels, counters.refused[place]);
        for (status, values) in
            [("success", &counters.success), ("failure", &counters.failure), ("indeterminate", &counters.indeterminate)]
        {
            let labels = [("side", word), ("operation", "message"), ("status", status)];
            let help = "Responses by the side that the operation came from.";
            metrics.counter("entente_operations_concluded_total", help, &labels, values[place]);
        }
    }
    for (reason, value) in Reason::ALL.into_iter().zip(counters.reasons) {
        let help = "Operations that failed, by reason.";
        metrics.counter("entente_failures_total", help, &[("reason", reason.as_str())], value);
    }
}

fn sip(counters: &sip_connector::EndpointCounters, metrics: &mut Metrics) {
    let mut count = |name, help, value| metrics.counter(name, help, &[], value);
    count("entente_sip_messages_received_total", "SIP messages received.", counters.received);
    count("entente_sip_requests_received_total", "New server transactions.", counters.requests_in);
    count("entente_sip_answers_sent_total", "Final responses sent for the first time.", counters.answers_out);
    count("entente_sip_requests_abandoned_total", "Requests forgotten without an answer.", counters.abandoned);
    count("entente_sip_retransmissions_received_total", "Requests received again.", counters.retransmissions_in);
    count("entente_sip_answers_repeated_total", "Responses sent again.", counters.answers_repeated);
    count("entente_sip_trying_sent_total", "Provisional responses sent.", counters.trying_out);
    count("entente_sip_requests_sent_total", "Requests sent for the first time.", counters.requests_out);
    count("entente_sip_retransmissions_sent_total", "Requests sent again.", counters.retransmissions_out);
    count("entente_sip_responses_received_total", "Final responses to our requests.", counters.responses_in);
    count("entente_sip_provisional_received_total", "Provisional responses to our requests.", counters.provisionals_in);
    count("entente_sip_timeouts_total", "Our requests that nobody answered.", counters.timed_out);
    count("entente_sip_transport_failures_total", "Our requests that could not be sent.", counters.transport_failed);
    count("entente_sip_acks_total", "ACKs for a refused INVITE.", counters.acks);
    count("entente_sip_cancels_total", "CANCEL requests.", counters.cancels);
    count(
        "entente_sip_answers_elsewhere_total",
        "Responses sent over another connection, their own being gone.",
        counters.answers_elsewhere,
    );
    count("entente_sip_malformed_requests_total", "Malformed requests, answered.", counters.refused);
    count("entente_sip_merged_requests_total", "Merged requests, answered.", counters.merged);
    count("entente_sip_overload_refusals_total", "Requests refused for a full table.", counters.overloaded);
    for (reason, value) in [
        ("keep_alive", counters.dropped_keep_alive),
        ("not_sip", counters.dropped_not_sip),
        ("unfinished", counters.dropped_unfinished),
        ("no_via", counters.dropped_no_via),
        ("too_long", counters.dropped_too_long),
        ("ack", counters.dropped_ack),
        ("malformed_response", counters.dropped_malformed_response),
        ("foreign_response", counters.dropped_foreign_response),
        ("vias", counters.dropped_vias),
        ("stray_response", counters.dropped_stray_response),
        ("late_answer", counters.dropped_late_answer),
        ("no_stream", counters.dropped_no_stream),
        ("slow_stream", counters.dropped_slow_stream),
    ] {
        dropped("sip", reason, value, metrics);
    }
}

fn sip_connections(counters: &sip_connector::ConnectionCounters, metrics: &mut Metrics) {
    let mut count = |name, help, value| metrics.counter(name, help, &[], value);
    count("entente_sip_connections_accepted_total", "TCP connections that SIP peers made.", counters.accepted);
    count("entente_sip_connections_ordered_total", "TCP connections to SIP peers that were ordered.", counters.ordered);
    count("entente_sip_connections_refused_total", "Of those, the ones that were never made.", counters.refused);
    count("entente_sip_keep_alives_total", "Keep-alives that were answered.", counters.pings);
    for (reason, value) in [
        ("too_many", counters.turned_away),
        ("room", counters.made_room),
        ("idle", counters.idle),
        ("unfinished", counters.unfinished),
        ("broken", counters.broken),
    ] {
        let help = "TCP connections that were closed on SIP peers, by reason.";
        metrics.counter("entente_sip_connections_closed_total", help, &[("reason", reason)], value);
    }
}

fn sip_routes(counters: &engine::Counters, metrics: &mut Metrics) {
    let routes = &counters.sip_routes;
    for (reason, value) in [
        ("unavailable", routes.moved_unavailable),
        ("unreachable", routes.moved_unreachable),
        ("silent", routes.moved_silent),
    ] {
        let help = "Requests that went on to another next hop, by what was wrong with the one before.";
        metrics.counter("entente_sip_failovers_total", help, &[("reason", reason)], value);
    }
    let help = "Messages refused because every next hop has asked to be left alone.";
    metrics.counter("entente_sip_held_off_total", help, &[], routes.held_off);
    let help = "Messages refused because they were larger than their route takes.";
    metrics.counter("entente_sip_too_large_for_route_total", help, &[], routes.too_large);
    let help = "Next hops that failed when they were last asked.";
    metrics.gauge("entente_sip_failing_next_hops", help, &[], counters.failing_next_hops as u64);
}

fn xmpp(counters: &xmpp_connector::Counters, metrics: &mut Metrics) {
    for (reason, value) in [
        ("headline", counters.headlines),
        ("without_body", counters.without_body),
        ("presence", counters.presences),
        ("misaddressed", counters.misaddressed),
        ("stray_error", counters.stray_errors),
    ] {
        dropped("xmpp", reason, value, metrics);
    }
    let mut count = |name, help, value| metrics.counter(name, help, &[], value);
    count("entente_xmpp_stanzas_received_total", "Stanzas received.", counters.stanzas);
    count("entente_xmpp_pings_sent_total", "Pings that ask how far the server has read.", counters.pings);
    count(
        "entente_xmpp_replaced_characters_total",
        "Characters replaced that XML forbids.",
        counters.replaced_characters,
    );
    count("entente_xmpp_stream_ups_total", "Times a component stream came to stand.", counters.ups);
    count("entente_xmpp_stream_downs_total", "Times a component stream was lost or could not be made.", counters.downs);
}

fn dropped(side: &'static str, reason: &'static str, value: u64, metrics: &mut Metrics) {
    let help = "What was received and dropped without an answer, by reason.";
    metrics.counter("entente_drops_total", help, &[("side", side), ("reason", reason)], value);
}

#[cfg(test)]
mod tests {
    use super::*;

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
