//! What a message costs in the steady state. The only test of its program, because it counts what the whole program allocates.

use entente_tests::steady::Steady;

#[global_allocator]
static ALLOCATOR: dhat::Alloc = dhat::Alloc;

/// Blocks allocated by so many messages each way, once every table has seen a whole round of its timers.
fn blocks(mut steady: Steady, messages: u64, mut step: impl FnMut(&mut Steady)) -> u64 {
    // 41 s are a round of the timer wheel, 32 s the life of a finished transaction; the flow is one in 10 ms.
    for _ in 0..12_000 {
        step(&mut steady);
    }
    let before = dhat::HeapStats::get().total_blocks;
    for _ in 0..messages {
        step(&mut steady);
    }
    dhat::HeapStats::get().total_blocks - before
}

#[test]
fn a_message_costs_no_allocation() {
    let _profiler = dhat::Profiler::builder().testing().build();
    let to_sip = blocks(Steady::with_routes(), 4096, Steady::xmpp_to_sip);
    assert_eq!(to_sip, 0, "allocations for 4096 messages with another next hop and a route set");
    let rich = blocks(Steady::with_rich_stanzas(), 4096, Steady::xmpp_to_sip);
    assert_eq!(rich, 0, "allocations for 4096 messages with a thread, an id and the language of the stream");
    let logged = blocks(Steady::with_log(), 4096, Steady::sip_to_xmpp);
    assert_eq!(logged, 0, "allocations for 4096 messages whose answers are logged");
    for (transport, start) in [("UDP", Steady::new as fn() -> Steady), ("TCP", Steady::over_tcp)] {
        let to_xmpp = blocks(start(), 4096, Steady::sip_to_xmpp);
        let to_sip = blocks(start(), 4096, Steady::xmpp_to_sip);
        assert_eq!((to_xmpp, to_sip), (0, 0), "allocations for 4096 messages to XMPP and to SIP over {transport}");
    }
}
