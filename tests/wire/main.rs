//! Golden transcripts: conversations in readable text, one file each.

macro_rules! transcripts {
    ($($name:ident),* $(,)?) => {
        $(
            #[test]
            fn $name() {
                entente_tests::transcript::play(stringify!($name), include_str!(concat!(stringify!($name), ".txt")));
            }
        )*
    };
}

transcripts![
    sip_to_xmpp,
    xmpp_to_sip,
    sip_to_unknown_xmpp_user,
    xmpp_to_unknown_sip_user,
    refused_requests,
    refused_call,
    cancelled_message,
    iq_answers,
    one_at_a_time,
    messages_that_are_no_operation,
    message_cpim,
    ejabberd_errors,
    prosody_errors,
    pjsua,
];
