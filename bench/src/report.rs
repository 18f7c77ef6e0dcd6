//! What a run says about itself: a table for people, a line of JSON for programs.

use std::fmt::Write as _;

use serde_json::{Value, json};

use crate::course::{Course, Fates};
use crate::gauge::Memory;
use crate::latency::Histogram;
use crate::mark::Direction;
use crate::options::Options;
use crate::run::{Bench, Cost, Measures};
use crate::traffic::Lane;

const SHARES: [(&str, f64); 3] = [("p50", 0.5), ("p99", 0.99), ("p99.9", 0.999)];

/// Whether every message came out once, in order, whole and rightly addressed, or was refused with a word.
pub(crate) fn is_clean(bench: &Bench<'_>) -> bool {
    bench.traffic.strays == 0
        && bench.traffic.lanes().all(|Lane { course, .. }| {
            let (counts, fates) = (&course.counts, course.fates());
            counts.duplicates + counts.disordered + counts.wrong_address + counts.altered == 0
                && fates.lost + fates.refused_but_delivered == 0
        })
}

pub(crate) fn as_json(options: &Options, bench: &Bench<'_>, measures: &Measures) -> Value {
    let delivered = delivered_in_window(bench);
    json!({
        "label": options.label,
        "workload": clap_name(options),
        "window": options.rate.is_none().then_some(options.window),
        "rate": options.rate,
        "pairs": options.pairs,
        "size": options.size,
        "sip_transport": format!("{:?}", options.sip_transport).to_lowercase(),
        "seconds": measures.seconds,
        "delivered_per_second": delivered as f64 / measures.seconds,
        "messages_per_cpu_second": per_cpu_second(delivered, measures),
        "gateway": measures.gateway.as_ref().map(|cost| json!({
            "cores": cores(cost.cpu_nanoseconds, measures.seconds),
            "cpu_ns": cost.cpu_nanoseconds,
            "kept_octets_per_message": kept_per_message(bench, cost),
            "memory_kib": { "idle": memory(cost.idle), "loaded": memory(cost.loaded), "drained": memory(cost.drained) },
        })),
        "gateway_alive": measures.gateway_alive,
        "generator_cores": measures.generator_cores,
        "datagrams_dropped": { "at_gateway": measures.dropped_at_gateway, "here": measures.dropped_here, "unsendable": bench.sip.unsendable },
        "handshakes": bench.xmpp.handshakes,
        "returned_to_component": bench.xmpp.returned(),
        "provisional_responses": bench.sip.provisional(),
        "strays": { "messages": bench.traffic.strays, "sip": bench.sip.strays(), "xmpp": bench.xmpp.strays() },
        "clean": is_clean(bench),
        "directions": bench.traffic.lanes().map(|lane| (lane.course.direction.name().to_owned(), direction(&lane.course, measures))).collect::<serde_json::Map<_, _>>(),
    })
}

fn direction(course: &Course, measures: &Measures) -> Value {
    let (counts, fates) = (&course.counts, course.fates());
    let mut value = json!({
        "sent": counts.sent,
        "sent_in_window": counts.sent_in_window,
        "delivered": counts.delivered,
        "delivered_in_window": counts.delivered_in_window,
        "delivered_per_second": counts.delivered_in_window as f64 / measures.seconds,
        "answered": course.statuses.iter().map(|(status, count)| (status.to_string(), json!(count))).collect::<serde_json::Map<_, _>>(),
        "unanswered": fates.unanswered,
        "refused": fates.refused,
        "refused_but_delivered": fates.refused_but_delivered,
        "lost": fates.lost,
        "lost_between_seconds": fates.lost_due.map(|(first, last)| [first, last].map(|due| course.seconds_into_window(due))),
        "late": counts.late,
        "duplicates": counts.duplicates,
        "disordered": counts.disordered,
        "wrong_address": counts.wrong_address,
        "altered": counts.altered,
        "delivery_us": latency(&course.delivery),
        "answer_us": latency(&course.answer),
    });
    let more = match course.direction {
        Direction::SipToXmpp => json!({
            "lost_accepted": fates.lost_accepted,
            "lost_unanswered": fates.lost_unanswered,
            "retransmitted": counts.retransmitted,
        }),
        Direction::XmppToSip => json!({
            "stanza_errors": counts.bounced,
            "refused_or_unanswered_and_untold": course.untold(),
            "retransmissions_received": counts.retransmissions_received,
        }),
    };
    if let (Value::Object(value), Value::Object(more)) = (&mut value, more) {
        value.extend(more);
    }
    value
}

pub(crate) fn as_table(options: &Options, bench: &Bench<'_>, measures: &Measures) -> String {
    let mut out = String::new();
    let pace = match options.rate {
        Some(rate) => format!("{rate}/s open loop"),
        None => format!("window {}", options.window),
    };
    // Writing into a String cannot fail.
    let _ = writeln!(
        out,
        "{}{}{}, {pace}, {} pairs, {} byte bodies, {:?}, {:.2} s measured",
        options.label,
        if options.label.is_empty() { "" } else { ": " },
        clap_name(options),
        options.pairs,
        options.size,
        options.sip_transport,
        measures.seconds
    );
    for lane in bench.traffic.lanes() {
        table_of(&lane.course, measures, &mut out);
    }
    let delivered = delivered_in_window(bench);
    if let Some(cost) = &measures.gateway {
        let mib = |memory: Memory| memory.pss as f64 / 1024.0;
        let _ = writeln!(
            out,
            "gateway     {:.0} messages per CPU-second, {:.2} cores, PSS {:.1} MiB idle, {:.1} loaded, {:.1} drained (peak RSS {:.1}), {:.0} octets kept per message{}",
            per_cpu_second(delivered, measures).unwrap_or(0.0),
            cores(cost.cpu_nanoseconds, measures.seconds),
            mib(cost.idle),
            mib(cost.loaded),
            mib(cost.drained),
            cost.drained.peak_rss as f64 / 1024.0,
            kept_per_message(bench, cost).unwrap_or(0.0),
            if measures.gateway_alive { "" } else { " GONE AT THE END" }
        );
    }
    let _ = writeln!(
        out,
        "generator   {:.2} cores; datagrams dropped at the gateway {}, here {}; routed back to the component {}; 1xx {}; strays {}",
        measures.generator_cores,
        measures.dropped_at_gateway,
        measures.dropped_here + bench.sip.unsendable,
        bench.xmpp.returned(),
        bench.sip.provisional(),
        bench.traffic.strays + bench.sip.strays() + bench.xmpp.strays(),
    );
    out
}

fn table_of(course: &Course, measures: &Measures, out: &mut String) {
    let (counts, fates) = (&course.counts, course.fates());
    let _ = writeln!(
        out,
        "{} {:.0} delivered/s; sent {}, delivered {}, refused {}, lost {}, late {}, duplicates {}, disordered {}, wrong address {}, altered {}",
        course.direction.name(),
        counts.delivered_in_window as f64 / measures.seconds,
        counts.sent,
        counts.delivered,
        fates.refused,
        fates.lost,
        counts.late,
        counts.duplicates,
        counts.disordered,
        counts.wrong_address,
        counts.altered,
    );
    if let Some((first, last)) = fates.lost_due {
        let [first, last] = [first, last].map(|due| course.seconds_into_window(due));
        let _ = writeln!(out, "  lost      those due between {first:.3} s and {last:.3} s of the measured window");
    }
    let _ = write!(out, "  delivery  ");
    write_latency(&course.delivery, out);
    let statuses: Vec<String> = course.statuses.iter().map(|(status, count)| format!("{count} x {status}")).collect();
    let _ = write!(out, "  answers   {}; unanswered {}", statuses.join(", "), fates.unanswered);
    let Fates { lost_accepted, refused_but_delivered, .. } = fates;
    match course.direction {
        Direction::SipToXmpp => {
            let _ = writeln!(
                out,
                "; accepted but lost {lost_accepted}; refused but delivered {refused_but_delivered}; retransmitted {}",
                counts.retransmitted
            );
            let _ = write!(out, "  answer    ");
            write_latency(&course.answer, out);
        }
        Direction::XmppToSip => {
            let _ = writeln!(
                out,
                "; stanza errors {}; untold {}; accepted but refused {refused_but_delivered}; retransmissions {}",
                counts.bounced,
                course.untold(),
                counts.retransmissions_received
            );
        }
    }
}

fn write_latency(histogram: &Histogram, out: &mut String) {
    for (name, share) in SHARES {
        let _ = write!(out, "{name} {:.0} us, ", microseconds(histogram.quantile(share)));
    }
    let _ = writeln!(out, "longest {:.0} us", microseconds(histogram.largest()));
}

fn latency(histogram: &Histogram) -> Value {
    let mut value: serde_json::Map<_, _> = SHARES
        .iter()
        .map(|(name, share)| ((*name).to_owned(), json!(microseconds(histogram.quantile(*share)))))
        .collect();
    value.insert("longest".to_owned(), json!(microseconds(histogram.largest())));
    value.insert("count".to_owned(), json!(histogram.count()));
    Value::Object(value)
}

fn memory(memory: Memory) -> Value {
    json!({ "pss": memory.pss, "rss": memory.rss, "peak_rss": memory.peak_rss })
}

fn delivered_in_window(bench: &Bench<'_>) -> u64 {
    bench.traffic.lanes().map(|lane| lane.course.counts.delivered_in_window).sum()
}

fn per_cpu_second(delivered: u64, measures: &Measures) -> Option<f64> {
    let cpu = measures.gateway.as_ref()?.cpu_nanoseconds;
    (cpu > 0).then(|| delivered as f64 * 1e9 / cpu as f64)
}

/// How much more memory the gateway has when all is over than before the first message, for each message sent: in a run that
/// is shorter than the life of a transaction (32 s over UDP) what it keeps of a finished one, and a share of its buffers.
fn kept_per_message(bench: &Bench<'_>, cost: &Cost) -> Option<f64> {
    let sent: u64 = bench.traffic.lanes().map(|lane| lane.course.counts.sent).sum();
    let grown = cost.drained.pss.saturating_sub(cost.idle.pss);
    (sent > 0).then(|| (grown * 1024) as f64 / sent as f64)
}

fn cores(cpu_nanoseconds: u64, seconds: f64) -> f64 {
    cpu_nanoseconds as f64 / 1e9 / seconds
}

fn microseconds(nanoseconds: u64) -> f64 {
    nanoseconds as f64 / 1e3
}

fn clap_name(options: &Options) -> String {
    use clap::ValueEnum as _;
    options.workload.to_possible_value().map(|value| value.get_name().to_owned()).unwrap_or_default()
}
