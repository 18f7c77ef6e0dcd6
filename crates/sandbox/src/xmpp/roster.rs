//! Rosters and subscription states (RFC 6121 2, 3 and appendix A), as pure functions over one item.
//!
//! Pre-approval (3.4) and roster versioning (2.6) are not offered.

use std::collections::BTreeMap;
use xml::writer;

/// Items that one roster can have, pending requests from others counted.
pub(super) const ITEMS_MAX: usize = 1000;

/// What a user knows of a contact.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Item {
    pub(super) name: Option<String>,
    pub(super) groups: Vec<String>,
    /// The user sees the contact's presence.
    pub(super) to: bool,
    /// The contact sees the user's presence.
    pub(super) from: bool,
    /// The user has asked and waits.
    pub(super) pending_out: bool,
    /// The contact has asked and waits.
    pub(super) pending_in: bool,
    /// The user has put it into the roster. What only a stranger's request made is not shown (RFC 6121 3.1.3).
    pub(super) listed: bool,
}

/// A subscription stanza (RFC 6121 3).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    Subscribe,
    Subscribed,
    Unsubscribe,
    Unsubscribed,
}

/// What a subscription stanza does at one side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Effect {
    /// Route it (outbound) or deliver it (inbound).
    pub(super) pass: bool,
    /// The state is another one now.
    pub(super) changed: bool,
}

impl Item {
    /// RFC 6121 A.2: the user sends.
    pub(super) fn outbound(&mut self, step: Step) -> Effect {
        let before = self.state();
        let pass = match step {
            Step::Subscribe => {
                self.pending_out |= !self.to;
                self.listed = true;
                true
            }
            Step::Unsubscribe => {
                self.to = false;
                self.pending_out = false;
                true
            }
            Step::Subscribed => {
                let asked = self.pending_in;
                self.from |= asked;
                self.pending_in = false;
                self.listed |= asked;
                asked
            }
            Step::Unsubscribed => {
                let had = self.from || self.pending_in;
                self.from = false;
                self.pending_in = false;
                had
            }
        };
        Effect { pass, changed: before != self.state() }
    }

    /// RFC 6121 A.3: the contact sends.
    pub(super) fn inbound(&mut self, step: Step) -> Effect {
        let before = self.state();
        match step {
            Step::Subscribe => self.pending_in |= !self.from,
            Step::Unsubscribe => {
                self.from = false;
                self.pending_in = false;
            }
            Step::Subscribed => {
                self.to |= self.pending_out;
                self.pending_out = false;
            }
            Step::Unsubscribed => {
                self.to = false;
                self.pending_out = false;
            }
        }
        let changed = before != self.state();
        Effect { pass: changed, changed }
    }

    fn state(&self) -> (bool, bool, bool, bool) {
        (self.to, self.from, self.pending_out, self.pending_in)
    }

    /// Whether nothing is left to remember.
    pub(super) fn is_empty(&self) -> bool {
        !self.listed && !self.pending_in && !self.from && !self.to && !self.pending_out
    }

    /// The attribute `subscription` (RFC 6121 2.1.2.5).
    pub(super) fn subscription(&self) -> &'static str {
        match (self.to, self.from) {
            (false, false) => "none",
            (true, false) => "to",
            (false, true) => "from",
            (true, true) => "both",
        }
    }

    /// Appends the item (RFC 6121 2.1.2).
    pub(super) fn write(&self, address: &str, out: &mut Vec<u8>) {
        out.extend_from_slice(b"<item");
        writer::attribute("jid", address, out);
        if let Some(name) = &self.name {
            writer::attribute("name", name, out);
        }
        writer::attribute("subscription", self.subscription(), out);
        if self.pending_out {
            writer::attribute("ask", "subscribe", out);
        }
        if self.groups.is_empty() {
            out.extend_from_slice(b"/>");
            return;
        }
        out.push(b'>');
        for group in &self.groups {
            writer::element("group", group, out);
        }
        out.extend_from_slice(b"</item>");
    }
}

/// The contacts of a user, by bare JID.
pub(super) type Roster = BTreeMap<String, Item>;

/// Appends the whole roster as the payload of a result (RFC 6121 2.1.4).
pub(super) fn write_roster(roster: &Roster, out: &mut Vec<u8>) {
    out.extend_from_slice(b"<query xmlns='jabber:iq:roster'>");
    for (address, item) in roster.iter().filter(|(_, item)| item.listed) {
        item.write(address, out);
    }
    out.extend_from_slice(b"</query>");
}

#[cfg(test)]
mod tests {
    use super::*;

    const STATES: [&str; 9] = [
        "None",
        "None + Pending Out",
        "None + Pending In",
        "None + Pending Out+In",
        "To",
        "To + Pending In",
        "From",
        "From + Pending Out",
        "Both",
    ];

    fn item(state: &str) -> Item {
        let (base, pending) = state.split_once(" + ").unwrap_or((state, ""));
        Item {
            to: matches!(base, "To" | "Both"),
            from: matches!(base, "From" | "Both"),
            pending_out: pending.contains("Out"),
            pending_in: pending.contains("In"),
            listed: true,
            ..Item::default()
        }
    }

    fn name(item: &Item) -> &'static str {
        STATES.into_iter().find(|state| super::Item { ..self::item(state) } == *item).expect("a defined state")
    }

    /// One row per state in the order of `STATES`: whether it is passed on, and the new state ("" is no change).
    type Table = [(bool, &'static str); 9];

    fn check(what: &str, table: &Table, apply: impl Fn(&mut Item) -> Effect) {
        for (state, (pass, new)) in STATES.into_iter().zip(table) {
            let mut item = item(state);
            let effect = apply(&mut item);
            let expected = if new.is_empty() { state } else { new };
            assert_eq!((effect.pass, name(&item)), (*pass, expected), "{what} in state {state}");
            assert_eq!(effect.changed, !new.is_empty(), "{what} in state {state}");
        }
    }

    /// RFC 6121 A.2, tables 2 to 5.
    #[test]
    fn outbound() {
        let subscribe = [
            (true, "None + Pending Out"),
            (true, ""),
            (true, "None + Pending Out+In"),
            (true, ""),
            (true, ""),
            (true, ""),
            (true, "From + Pending Out"),
            (true, ""),
            (true, ""),
        ];
        check("subscribe", &subscribe, |item| item.outbound(Step::Subscribe));
        let unsubscribe = [
            (true, ""),
            (true, "None"),
            (true, ""),
            (true, "None + Pending In"),
            (true, "None"),
            (true, "None + Pending In"),
            (true, ""),
            (true, "From"),
            (true, "From"),
        ];
        check("unsubscribe", &unsubscribe, |item| item.outbound(Step::Unsubscribe));
        let subscribed = [
            (false, ""),
            (false, ""),
            (true, "From"),
            (true, "From + Pending Out"),
            (false, ""),
            (true, "Both"),
            (false, ""),
            (false, ""),
            (false, ""),
        ];
        check("subscribed", &subscribed, |item| item.outbound(Step::Subscribed));
        let unsubscribed = [
            (false, ""),
            (false, ""),
            (true, "None"),
            (true, "None + Pending Out"),
            (false, ""),
            (true, "To"),
            (true, "None"),
            (true, "None + Pending Out"),
            (true, "To"),
        ];
        check("unsubscribed", &unsubscribed, |item| item.outbound(Step::Unsubscribed));
    }

    /// RFC 6121 A.3, tables 6 to 9.
    #[test]
    fn inbound() {
        let subscribe = [
            (true, "None + Pending In"),
            (true, "None + Pending Out+In"),
            (false, ""),
            (false, ""),
            (true, "To + Pending In"),
            (false, ""),
            (false, ""),
            (false, ""),
            (false, ""),
        ];
        check("subscribe", &subscribe, |item| item.inbound(Step::Subscribe));
        let unsubscribe = [
            (false, ""),
            (false, ""),
            (true, "None"),
            (true, "None + Pending Out"),
            (false, ""),
            (true, "To"),
            (true, "None"),
            (true, "None + Pending Out"),
            (true, "To"),
        ];
        check("unsubscribe", &unsubscribe, |item| item.inbound(Step::Unsubscribe));
        let subscribed = [
            (false, ""),
            (true, "To"),
            (false, ""),
            (true, "To + Pending In"),
            (false, ""),
            (false, ""),
            (false, ""),
            (true, "Both"),
            (false, ""),
        ];
        check("subscribed", &subscribed, |item| item.inbound(Step::Subscribed));
        let unsubscribed = [
            (false, ""),
            (true, "None"),
            (false, ""),
            (true, "None + Pending In"),
            (true, "None"),
            (true, "None + Pending In"),
            (false, ""),
            (true, "From"),
            (true, "From"),
        ];
        check("unsubscribed", &unsubscribed, |item| item.inbound(Step::Unsubscribed));
    }

    #[test]
    fn written_as_the_schema_wants() {
        let mut roster = Roster::new();
        roster.insert("a@b".into(), Item { name: Some("A & B".into()), groups: vec!["x".into()], ..item("Both") });
        roster.insert("c@d".into(), item("None + Pending Out"));
        roster.insert("stranger@d".into(), Item { listed: false, ..item("None + Pending In") });
        let mut out = Vec::new();
        write_roster(&roster, &mut out);
        assert_eq!(
            String::from_utf8(out).unwrap(),
            "<query xmlns='jabber:iq:roster'><item jid='a@b' name='A &amp; B' subscription='both'><group>x</group></item>\
             <item jid='c@d' subscription='none' ask='subscribe'/></query>"
        );
    }
}
